"""NumPy files: read into new arrays, never unpickled, with declared axes."""

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(6)
DEEP = RNG.integers(0, 4096, (21, 34), dtype=np.uint16)
CUBE = RNG.random((13, 7, 9), dtype=np.float32)
THIRTEEN = tuple(f"B{number:02}" for number in range(1, 14))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "<u2", ">u2", "<f4", ">f8", "float16"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_two_axes_are_read(tmp_path, dtype, order):
    expected = np.asarray(
        DEEP % 2 if dtype == "bool" else DEEP % 256, dtype, order=order
    )
    np.save(tmp_path / "image.npy", expected)
    image, source = gp.read(
        tmp_path / "image.npy", range=(0, 1) if dtype == "bool" else (0, 255)
    )
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, type(image)) == (
        expected.dtype.newbyteorder("="),
        np.ndarray,
    )
    assert image.flags.writeable
    assert image.dtype.isnative
    assert source.dtype == expected.dtype.name
    assert gp.plan(source, "imagenet")(image).shape == (3, 21, 34)
    header = facts(tmp_path / "image.npy")
    assert (header["format"], header["height"], header["width"], header["dtype"]) == (
        "NPY",
        21,
        34,
        source.dtype,
    )


def npy(header, version=1):
    """Return a .npy file with this text as its header."""
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + DEEP.tobytes()


@pytest.mark.parametrize(
    "header",
    [
        b"{'shape': (21, 34), 'fortran_order': False, 'descr': '<u2'}",
        b'{"descr": "<u2", "fortran_order": False, "shape": (21, 34)}\n',
        b"{ 'descr' :'<u2','fortran_order':False , 'shape':( 21,34 , ) }  \n\n",
        b"{'descr': 'uint16', 'fortran_order': False, 'shape': (21, 34), }",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (21L, 34L), }     \n",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (21 L, 34), }     \n",
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_that_numpy_accepts_are_read(header, version):
    data = npy(header, version=version)
    if version < 3 or b"L" not in header:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_array_equal(np.load(io.BytesIO(data)), DEEP)
    image, _ = gp.read(data)
    np.testing.assert_array_equal(image, DEEP)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"(21, 34)",
        b"{'descr': '<u2', 'fortran_order': False}",
        b"{'descr': '<u2', 'fortran_order': 0, 'shape': (21, 34)}",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': [21, 34]}",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (-21, -34)}",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (21, 34or)}",
        b"{'descr': '<u2', 'fortran_order': False, 'shape': ('\\d', 34)}",
        b"{'descr': '<u\xe9', 'fortran_order': False, 'shape': (21, 34)}",
        b"{'descr': 'a2', 'fortran_order': False, 'shape': (21, 34)}",
        b"{'descr': ('<u2', (2,)), 'fortran_order': False, 'shape': (21, 17)}",
        b"(" * 9000,
    ],
)
def test_damaged_headers_are_refused_without_a_warning(header):
    with pytest.raises(gp.ReadError, match=r"<bytes>: .*(damaged|elements of dtype)"):
        gp.read(npy(header))


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path):
    class Shrinking(io.FileIO):
        def readinto(self, buffer):
            self.truncate(136)  # the header and four elements
            return super().readinto(buffer)

    path = tmp_path / "image.npy"
    np.save(path, DEEP)
    with (
        Shrinking(path, "r+") as file,
        pytest.raises(gp.ReadError, match=r"image\.npy: .* got 8: .*truncated"),
    ):
        gp.read(file)


def test_file_objects_need_no_more_than_read_and_seek():
    class Minimal:
        def __init__(self, content):
            file = io.BytesIO(content)
            self.read, self.seek = file.read, file.seek

        def seekable(self):
            return True

    file = io.BytesIO()
    np.save(file, DEEP)
    np.testing.assert_array_equal(gp.read(Minimal(file.getvalue()))[0], DEEP)


def test_bands_of_an_array_are_selected_by_name_or_position(tmp_path):
    path = tmp_path / "cube.npy"
    np.save(path, CUBE)
    image, source = gp.read(path, bands=THIRTEEN, layout="CHW", select=("B04", "B02"))
    np.testing.assert_array_equal(image, CUBE[[3, 1]])
    assert source == gp.Source(("B04", "B02"), "CHW", dtype="float32")
    image, source = gp.read(path, layout="CHW", select=("band4", "band2"))
    np.testing.assert_array_equal(image, CUBE[[3, 1]])
    assert gp.read(path, layout="HCW")[1].bands[-1] == "band7"


def test_all_frames_of_arrays_are_refused_with_a_cure(tmp_path):
    np.save(tmp_path / "one.npy", DEEP)
    with pytest.raises(gp.ReadError, match=r"omit frame=.*layout="):
        gp.read(tmp_path / "one.npy", frame="all")
    np.savez(tmp_path / "two.npz", image=DEEP, mask=DEEP)
    with pytest.raises(gp.ReadError, match=r"\['image', 'mask'\].*stacks frames only"):
        gp.read(tmp_path / "two.npz", frame="all")


def test_axes_must_be_declared(tmp_path):
    path = tmp_path / "cube.npy"
    np.save(path, CUBE)
    with pytest.raises(gp.LayoutError, match=r"cube\.npy: .*\(13, 7, 9\).*HWC.*CHW"):
        gp.read(path)
    with pytest.raises(gp.ChannelError, match=r"cube\.npy: .*13 bands.*'CHW'"):
        gp.read(path, bands=THIRTEEN)
    image, source = gp.read(path, bands=THIRTEEN, layout="CHW")
    np.testing.assert_array_equal(image, CUBE)
    assert source == gp.Source(THIRTEEN, "CHW", dtype="float32")
    assert gp.read(path, layout="NHW")[1].layout == "NHW"
    assert facts(path)["width"] is None


def test_integers_without_implied_range_require_one(tmp_path):
    path = tmp_path / "scan.npy"
    for dtype in ("int8", "int16", "int32", "uint32", "int64"):
        np.save(path, (DEEP % 100).astype(dtype))
        with pytest.raises(
            gp.ReadError, match=rf"scan\.npy: the file holds {dtype}.*range=.*bits="
        ):
            gp.read(path)
        image, source = gp.read(path, bits=7)
        assert (image.dtype, source.bits) == (np.dtype(dtype), 7)


def test_npz_arrays_are_chosen_by_key_or_index(tmp_path):
    path = tmp_path / "pair.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, image=DEEP, mask=DEEP > 9, turned=np.asfortranarray(DEEP))
        with pytest.raises(
            gp.ReadError, match=r"pair\.npz: .*\['image', 'mask', 'turned'\].*frame="
        ):
            gp.read(path)
        for key, expected in (
            ("image", DEEP),
            ("mask", DEEP > 9),
            (0, DEEP),
            (1, DEEP > 9),
            ("turned", DEEP),
        ):
            image, source = gp.read(path, frame=key)
            np.testing.assert_array_equal(image, expected)
            assert image.flags.writeable
            assert source.dtype == expected.dtype.name
        for wrong in ("other", 3, -1, True):
            with pytest.raises(gp.ReadError, match="frame="):
                gp.read(path, frame=wrong)
        save(path, DEEP)
        np.testing.assert_array_equal(gp.read(path)[0], DEEP)
        assert facts(path)["mode"] == "uint16 (21, 34)"


def test_objects_and_records_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was unpickled",))

    for array in (
        np.array([[Trap()]]),
        np.zeros((2, 2), "u1,u2"),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), "M8[s]"),
    ):
        np.save(tmp_path / "other.npy", array)
        np.savez(tmp_path / "other.npz", array)
        for name in ("other.npy", "other.npz"):
            with pytest.raises(gp.ReadError, match=rf"{name}: "):
                gp.read(tmp_path / name)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_arrays_are_refused_with_a_cure(tmp_path, dtype):
    np.save(tmp_path / "other.npy", np.zeros((2, 2), dtype))
    with pytest.raises(
        gp.ReadError, match=f"holds {dtype}: save the real part or the magnitude"
    ):
        gp.read(tmp_path / "other.npy")


def test_arrays_of_the_wrong_size_are_damage(tmp_path):
    np.save(tmp_path / "image.npy", DEEP)
    whole = (tmp_path / "image.npy").read_bytes()
    for content in (
        whole[:-1],
        whole + b"\0",
        whole[:100],
        whole.replace(b"(21, 34)", b"(21, 35)"),
    ):
        (tmp_path / "image.npy").write_bytes(content)
        with pytest.raises(gp.ReadError, match=r"image\.npy: .*damaged"):
            gp.read(tmp_path / "image.npy")
    np.save(tmp_path / "image.npy", np.zeros((0, 4)))
    with pytest.raises(gp.ReadError, match=r"shape \(.*\) is empty"):
        gp.read(tmp_path / "image.npy")
    np.save(tmp_path / "image.npy", np.full((3, 4), 7, np.uint8).view(bool))
    with pytest.raises(
        gp.ReadError, match="boolean array contains bytes other than 0 and 1"
    ):
        gp.read(tmp_path / "image.npy")


def test_archives_without_arrays_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("words.txt", "no image")
    with pytest.raises(gp.ReadError, match=r"words\.zip: expected arrays"):
        gp.read(tmp_path / "words.zip")


def test_compressed_bombs_are_refused(tmp_path, monkeypatch):
    from PIL import Image

    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((2000, 2000), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(gp.ReadError, match=r"bomb\.npz: .*MAX_IMAGE_PIXELS"):
        gp.read(tmp_path / "bomb.npz")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert gp.read(tmp_path / "bomb.npz")[0].shape == (2000, 2000)


def test_the_checksum_of_an_archived_array_is_checked(tmp_path):
    path = tmp_path / "large.npz"
    np.savez(path, np.zeros((300, 400), np.uint16))
    data = bytearray(path.read_bytes())
    data[200_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(gp.ReadError, match=r"large\.npz: .*checksum"):
        gp.read(path)
