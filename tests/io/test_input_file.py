"""The same file gives the same image, whether as a path, bytes, a file object or a URL."""

import io
import sys
import zipfile
from pathlib import Path

import fsspec
import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset

import graypipe as gp
from graypipe.io import facts
from graypipe.io.input_file import input_name

RNG = np.random.default_rng(31)
GRAY8 = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
SCENE = RNG.integers(0, 65536, (5, 13, 17), dtype=np.uint16)


def pillow_file(array, file_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, file_format, **options)
    return buffer.getvalue()


def numpy_file(save, *arrays):
    buffer = io.BytesIO()
    save(buffer, *arrays)
    return buffer.getvalue()


def tiff_file(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def dicom_file():
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.PhotometricInterpretation = "MONOCHROME2"
    data.SamplesPerPixel = 1
    data.Rows, data.Columns = GRAY16.shape
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = GRAY16.tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


FILES = {
    "gray.png": lambda: pillow_file(GRAY8, "PNG"),
    "deep.png": lambda: pillow_file(GRAY16, "PNG"),
    "photo.jpg": lambda: pillow_file(RGB8, "JPEG"),
    "scene.tif": lambda: tiff_file(
        SCENE, photometric="minisblack", planarconfig="separate", compression="zlib"
    ),
    "raw.tif": lambda: tiff_file(GRAY16),
    "band.jp2": lambda: imagecodecs.jpeg2k_encode(GRAY16, level=0, codecformat="jp2"),
    "photo.jxl": lambda: imagecodecs.jpegxl_encode(RGB8, lossless=True),
    "still.gif": lambda: pillow_file(GRAY8, "GIF"),
    "gray.bmp": lambda: pillow_file(GRAY8, "BMP"),
    "photo.webp": lambda: pillow_file(RGB8, "WEBP", lossless=True),
    "gray.pgm": lambda: pillow_file(GRAY8, "PPM"),
    "array.npy": lambda: numpy_file(np.save, GRAY16),
    "array.npz": lambda: numpy_file(np.savez, GRAY16),
    "scan.dcm": dicom_file,
}


class Pipe(io.RawIOBase):
    """A stream that cannot seek, such as the body of an HTTP response."""

    def __init__(self, content):
        self._rest = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._rest.readinto(buffer)


@pytest.mark.parametrize("name", FILES)
def test_every_way_to_pass_a_file_gives_the_same_image(name, tmp_path):
    content = FILES[name]()
    path = tmp_path / name
    path.write_bytes(content)
    url = f"memory://{tmp_path.name}/{name}"
    with fsspec.open(url, "wb") as remote:
        remote.write(content)
    expected, source = gp.read(path)
    header = facts(path)
    assert expected.flags.writeable
    with path.open("rb") as opened:
        opened.seek(5)  # files are read from the start, whatever their position
        ways = [
            str(path),
            content,
            bytearray(content),
            memoryview(content),
            io.BytesIO(content),
            opened,
            Pipe(content),
            url,
        ]
        for way in ways:
            image, image_source = gp.read(way)
            np.testing.assert_array_equal(image, expected)
            assert image.dtype == expected.dtype
            assert image_source == source
        assert not opened.closed
    for way in (content, io.BytesIO(content), url):
        assert facts(way) == header


def test_a_file_inside_an_archive_is_read_by_its_url(tmp_path):
    archive = tmp_path / "scans.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("day1/scan.png", FILES["deep.png"]())
    image, _ = gp.read(f"zip://day1/scan.png::file://{archive}")
    np.testing.assert_array_equal(image, GRAY16)


def test_selected_bands_equal_those_of_the_whole_image(tmp_path):
    path = tmp_path / "scene.tif"
    path.write_bytes(FILES["scene.tif"]())
    for select in (("band3", "band1"), ["band5"], ("band1", "band2", "band5")):
        image, source = gp.read(path, select=select)
        positions = [int(name[-1]) - 1 for name in select]
        np.testing.assert_array_equal(image, SCENE[positions])
        assert source.bands == tuple(select)
    names = ("B02", "B03", "B04", "B08", "B11")
    pairs = [(0, 1000 * number) for number in range(1, 6)]
    image, source = gp.read(path, select=("B08", "B02"), bands=names, range=pairs)
    np.testing.assert_array_equal(image, SCENE[[3, 0]])
    assert source == gp.Source(
        ("B08", "B02"), "CHW", dtype="uint16", range=[pairs[3], pairs[0]]
    )


def test_bands_of_interleaved_images_are_selected():
    image, source = gp.read(FILES["photo.webp"](), select="BR")
    np.testing.assert_array_equal(image, RGB8[..., [2, 0]])
    assert (source.bands, source.layout) == (("B", "R"), "HWC")
    array = numpy_file(np.save, np.moveaxis(SCENE, 0, -1))
    image, source = gp.read(array, bands="ABCDE", layout="HWC", select="EA")
    np.testing.assert_array_equal(image, np.moveaxis(SCENE[[4, 0]], 0, -1))


def test_a_band_that_the_file_lacks_is_named_with_those_it_has():
    with pytest.raises(
        gp.ReadError, match=r"select= names 'N', but the file has the bands 'RGB'"
    ):
        gp.read(FILES["photo.webp"](), select="RN")


def test_all_frames_are_one_stack():
    frames = RNG.integers(0, 256, (4, 13, 17), dtype=np.uint8)
    stack = tiff_file(frames, photometric="minisblack", metadata=None)
    image, source = gp.read(stack, frame="all")
    np.testing.assert_array_equal(image, frames)
    assert source.layout == "NHW"
    assert gp.plan(source, "imagenet")(image).shape == (4, 3, 13, 17)
    for number in range(4):
        np.testing.assert_array_equal(gp.read(stack, frame=number)[0], frames[number])
    with pytest.raises(gp.ReadError, match=r"4 frames.*frame='all'"):
        gp.read(stack)


def test_frames_of_different_sizes_are_no_stack():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GRAY8, metadata=None)
        writer.write(GRAY8[:5], metadata=None)
    with pytest.raises(gp.ReadError, match=r"frames of one size.*frame=0 to frame=1"):
        gp.read(buffer.getvalue(), frame="all")


@pytest.mark.parametrize("wrong", [None, 7, GRAY8, ["a.png"], io.StringIO("text")])
def test_objects_that_are_no_file_are_refused(wrong):
    with pytest.raises(gp.ReadError, match=r"expected a .*(path|binary)"):
        gp.read(wrong)


def test_an_unknown_protocol_is_named():
    with pytest.raises(gp.ReadError, match="no-such-protocol"):
        gp.read("no-such-protocol://bucket/scan.png")


def test_a_url_without_fsspec_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(gp.MissingExtraError, match=r'pip install "graypipe\[io\]"'):
        gp.read("memory://scan.png")


def test_a_missing_package_of_a_protocol_is_named(monkeypatch):
    def without_package(*_args, **_keywords):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "open", without_package)
    with pytest.raises(gp.MissingExtraError, match=r"s3://bucket.*Install s3fs"):
        gp.read("s3://bucket/scan.png")


def test_messages_name_the_file_if_it_has_a_name(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with path.open("rb") as opened:
        assert input_name(opened) == str(path)
        with pytest.raises(gp.ReadError, match=r"broken\.png: expected"):
            gp.read(opened)
    with pytest.raises(gp.ReadError, match=r"^<bytes>: expected"):
        gp.read(b"no image")
    with pytest.raises(gp.ReadError, match=r"^<BytesIO>: expected"):
        gp.read(io.BytesIO(b"no image"))
    assert input_name(Path("a.png")) == "a.png"


def test_bands_of_one_image_may_be_bytes_and_urls():
    with fsspec.open("memory://bands/green.png", "wb") as remote:
        remote.write(pillow_file(GRAY8[::-1].copy(), "PNG"))
    image, source = gp.read_bands(
        {"R": FILES["gray.png"](), "G": "memory://bands/green.png"}
    )
    np.testing.assert_array_equal(image, [GRAY8, GRAY8[::-1]])
    assert source.bands == ("R", "G")
