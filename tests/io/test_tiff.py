"""TIFF: storage, layouts and pages, against Pillow, OpenCV or what was written."""

import io
import logging
import struct
import threading

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(9)
GRAY8 = RNG.integers(0, 256, (37, 50), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (37, 50), dtype=np.uint16)
FLOAT = RNG.random((37, 50), dtype=np.float32)
RGB8 = RNG.integers(0, 256, (37, 50, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (37, 50, 3), dtype=np.uint16)
NORTH_UP = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)

STORAGES = [
    {},
    {"compression": "deflate", "predictor": True},
    {"compression": "lzw"},
    {"compression": "packbits"},
    {"compression": "zstd"},
    {"tile": (16, 32)},
    {"tile": (16, 16), "compression": "deflate"},
    {"rowsperstrip": 5},
    {"bigtiff": True},
    {"byteorder": ">"},
    {"byteorder": ">", "compression": "lzw", "predictor": True},
]


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_every_storage_keeps_every_level(tmp_path, storage):
    path = tmp_path / "image.tif"
    for image, bands in [
        (GRAY8, "gray"),
        (GRAY16, "gray"),
        (FLOAT, "gray"),
        (RGB8, "RGB"),
        (RGB16, "RGB"),
    ]:
        if image is FLOAT and storage.get("compression") == "packbits":
            continue
        photometric = "rgb" if bands == "RGB" else "minisblack"
        tifffile.imwrite(path, image, photometric=photometric, metadata=None, **storage)
        read, source = gp.read(path)
        np.testing.assert_array_equal(read, image)
        assert (read.dtype, read.flags.writeable, read.dtype.isnative) == (
            image.dtype,
            True,
            True,
        )
        assert source == gp.Source(bands, dtype=image.dtype)
        assert_as_opencv(path, read)
        header = facts(path)
        assert (header["width"], header["height"], header["dtype"]) == (
            50,
            37,
            image.dtype.name,
        )
        assert (header["bands"], header["frames"], header["alpha"]) == (
            len(source.bands),
            1,
            False,
        )


def assert_as_opencv(path, read):
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    # OpenCV reads neither big-endian files with a predictor nor zstd.
    if decoded is not None:
        np.testing.assert_array_equal(
            read, decoded[..., ::-1] if read.ndim == 3 else decoded
        )


def test_planar_files_are_chw(tmp_path):
    planes = np.ascontiguousarray(RGB16.transpose(2, 0, 1))
    for storage in ({}, {"tile": (16, 16)}, {"compression": "deflate"}):
        tifffile.imwrite(
            tmp_path / "planar.tif",
            planes,
            photometric="rgb",
            planarconfig="separate",
            **storage,
        )
        image, source = gp.read(tmp_path / "planar.tif")
        np.testing.assert_array_equal(image, planes)
        assert source == gp.Source("RGB", "CHW", dtype="uint16")


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "F"]
)
def test_files_written_by_pillow_are_read(tmp_path, mode):
    path = tmp_path / "image.tif"
    written = pillow_image(mode)
    written.save(path)
    image, source = gp.read(path, alpha="drop")
    with Image.open(path) as opened:
        shown = opened.convert("RGB") if mode in ("P", "PA") else opened
        expected = np.asarray(shown)
    if mode in ("LA", "RGBA"):
        expected = expected[..., :-1].squeeze()
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.dtype.isnative) == (
        expected.dtype.newbyteorder("="),
        True,
    )
    assert source.bands == (("gray",) if expected.ndim == 2 else ("R", "G", "B"))
    assert facts(path)["bands"] == len(source.bands)
    if mode in ("LA", "PA", "RGBA"):
        with pytest.raises(gp.ReadError, match=r"image\.tif: .*transparent"):
            gp.read(path)


def pillow_image(mode):
    if mode in ("I;16", "I;16B"):
        data = GRAY16.astype("<u2" if mode == "I;16" else ">u2").tobytes()
        return Image.frombytes(mode, (50, 37), data)
    if mode in ("P", "PA"):
        image = Image.fromarray(GRAY8).convert("P")
        image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
        if mode == "P":
            return image
        with_alpha = image.convert("PA")
        with_alpha.putalpha(Image.fromarray(GRAY8[::-1].copy()))
        return with_alpha
    arrays = {
        "1": GRAY8 > 99,
        "L": GRAY8,
        "RGB": RGB8,
        "F": FLOAT,
        "RGBA": np.dstack([RGB8, GRAY8]),
    }
    if mode == "LA":
        return Image.merge(
            "LA", [Image.fromarray(GRAY8), Image.fromarray(GRAY8[::-1].copy())]
        )
    return Image.fromarray(arrays[mode])


def test_one_of_several_pages_must_be_chosen(tmp_path):
    stack = RNG.integers(0, 65536, (5, 37, 50), dtype=np.uint16)
    axes = {"metadata": {"axes": "ZYX"}}
    for keywords in (
        {},
        {"metadata": None},
        {"imagej": True, **axes},
        {"ome": True, **axes},
    ):
        path = tmp_path / f"{'ome' if 'ome' in keywords else 'stack'}.tif"
        tifffile.imwrite(path, stack, photometric="minisblack", **keywords)
        assert facts(path)["frames"] == 5
        with pytest.raises(gp.ReadError, match="5 frames or pages"):
            gp.read(path)
        for number in range(5):
            np.testing.assert_array_equal(gp.read(path, frame=number)[0], stack[number])
        with pytest.raises(gp.ReadError, match="0 to 4"):
            gp.read(path, frame=5)
    first, *rest = [Image.fromarray(page) for page in stack]
    first.save(tmp_path / "pillow.tif", save_all=True, append_images=rest)
    np.testing.assert_array_equal(
        gp.read(tmp_path / "pillow.tif", frame=3)[0], stack[3]
    )


def test_overviews_are_skipped_and_masks_are_alpha(tmp_path):
    path = tmp_path / "scene.tif"
    profile = {
        "driver": "GTiff",
        "width": 50,
        "height": 37,
        "count": 1,
        "dtype": "uint16",
        "transform": NORTH_UP,
    }
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile) as scene,
    ):
        scene.write(GRAY16, 1)
        scene.write_mask(GRAY8 > 99)
    with rasterio.open(path, "r+") as scene:
        scene.build_overviews([2, 4])
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    np.testing.assert_array_equal(gp.read(path, alpha="drop")[0], GRAY16)
    np.testing.assert_array_equal(
        gp.read(path, alpha="black")[0], np.where(GRAY8 > 99, GRAY16, 0)
    )


def test_frames_run_along_axes_other_than_channels(tmp_path):
    stack = RNG.integers(0, 65536, (2, 4, 3, 37, 50), dtype=np.uint16)
    path = tmp_path / "stack.tif"
    for keywords in (
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        {"ome": True, "metadata": {"axes": "TZCYX"}},
    ):
        tifffile.imwrite(path, stack, photometric="minisblack", **keywords)
        with pytest.raises(gp.ReadError, match="8 frames"):
            gp.read(path, bands="RGB")
        for number in (0, 5, 7):
            image, source = gp.read(path, bands="RGB", frame=number)
            np.testing.assert_array_equal(image, stack.reshape(8, 3, 37, 50)[number])
            assert source.layout == "CHW"
    tifffile.imwrite(
        path,
        stack[0].swapaxes(0, 1),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "CZYX"},
    )
    np.testing.assert_array_equal(gp.read(path, bands="RGB", frame=2)[0], stack[0, 2])


def test_masks_of_several_pages_are_refused(tmp_path):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as out:
        for page in (GRAY8, GRAY8[::-1]):
            out.write(page, metadata=None)
            out.write(page > 99, subfiletype=4, metadata=None)
    assert facts(path)["frames"] == 2
    with pytest.raises(gp.ReadError, match="2 masks for 2 pages"):
        gp.read(path, frame=1)


def test_missing_tiles_are_not_filled_in(tmp_path):
    path = tmp_path / "sparse.tif"
    keywords = {
        "count": 1,
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "SPARSE_OK": True,
    }
    with rasterio.open(
        path, "w", "GTiff", width=48, height=32, transform=NORTH_UP, **keywords
    ) as out:
        out.write(GRAY8[:16, :16], 1, window=rasterio.windows.Window(0, 0, 16, 16))
    with pytest.raises(
        gp.ReadError, match=r"sparse\.tif: expected 6 strips or tiles, got 1.*sparse"
    ):
        gp.read(path)


def test_jpeg_in_tiff_is_rgb_and_inks_are_refused(tmp_path):
    path = tmp_path / "photo.tif"
    smooth = np.repeat(np.repeat(RGB8[:5, :7], 8, 0), 8, 1)
    for photometric in ("rgb", "ycbcr"):
        keywords = {
            "count": 3,
            "dtype": "uint8",
            "compress": "jpeg",
            "transform": NORTH_UP,
        }
        with rasterio.open(
            path, "w", "GTiff", width=56, height=40, photometric=photometric, **keywords
        ) as out:
            out.write(smooth.transpose(2, 0, 1))
        image, source = gp.read(path)
        assert source == gp.Source("RGB", dtype="uint8")
        with Image.open(path) as opened:
            assert (
                np.abs(image.astype(int) - np.asarray(opened.convert("RGB"))).max() <= 2
            )
        assert np.abs(image.astype(int) - smooth).mean() < 12
    Image.new("CMYK", (5, 4)).save(path)
    with pytest.raises(
        gp.ReadError, match=r"photo\.tif: .*SEPARATED \(printing inks\)"
    ):
        gp.read(path)
    Image.new("LAB", (5, 4)).save(path)
    with pytest.raises(gp.ReadError, match=r"photo\.tif: .*CIELAB"):
        gp.read(path)


def test_previews_of_raw_files_are_refused(tmp_path):
    path = tmp_path / "raw.dng"
    with tifffile.TiffWriter(path) as out:
        out.write(
            np.full((8, 8, 3), 7, np.uint8), subifds=1, subfiletype=1, photometric="rgb"
        )
        out.write(GRAY16, subfiletype=0, photometric="minisblack")
    with pytest.raises(
        gp.ReadError, match=r"raw\.dng: the pages are previews.*SubIFD.*TIFF first"
    ):
        gp.read(path)


def test_overviews_in_subifds_are_skipped(tmp_path):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as out:
        out.write(GRAY16, subifds=1, photometric="minisblack")
        out.write(GRAY16[::2, ::2], subfiletype=1, photometric="minisblack")
    np.testing.assert_array_equal(gp.read(path)[0], GRAY16)


@pytest.mark.parametrize("planes", [1, 3])
def test_metamorph_stacks_of_several_planes_are_refused(tmp_path, planes):
    pixels = RNG.integers(0, 256, (planes, 8, 8), dtype=np.uint8)
    counts = b"".join(
        struct.pack("<6I", at, 1, 2451545, 1000, 2451545, 1000) for at in range(planes)
    )
    times = 8 + pixels.nbytes
    first = times + len(counts)
    waves = first + 8
    sizes = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
    ]
    strips = [(277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]
    tags = [
        *sizes,
        *strips,
        (33628, 4, 1, first),
        (33629, 5, planes, times),
        (33630, 5, planes, waves),
    ]
    path = tmp_path / "cells.stk"
    path.write_bytes(
        b"II*\0"
        + struct.pack("<I", waves + 8 * planes)
        + pixels.tobytes()
        + counts
        + bytes(8)
        + struct.pack("<II", 1, 1) * planes
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + bytes(4)
    )
    if planes == 1:
        np.testing.assert_array_equal(gp.read(path)[0], pixels[0])
        return
    for frame in (None, 0, 2):
        with pytest.raises(
            gp.ReadError, match=r"cells\.stk: a MetaMorph stack of 3 images in 1 page"
        ):
            gp.read(path, frame=frame)


def test_axes_that_are_not_an_image_are_refused(tmp_path):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, GRAY8, metadata={"axes": "XY"}, photometric="minisblack")
    with pytest.raises(
        gp.ReadError, match=r"odd\.tif: expected the axes.*YX.*gp\.Source"
    ):
        gp.read(path)


def test_repeated_axes_count_every_frame():
    file = io.BytesIO()
    stack = RNG.integers(0, 256, (2, 3, 8, 9), dtype=np.uint8)
    tifffile.imwrite(file, stack, photometric="minisblack")
    assert facts(file)["frames"] == 6
    with pytest.raises(gp.ReadError, match="6 frames"):
        gp.read(file)
    for number in range(6):
        np.testing.assert_array_equal(
            gp.read(file, frame=number)[0], stack.reshape(6, 8, 9)[number]
        )
    with pytest.raises(
        gp.ReadError, match=r"got axes QQ of lengths \(2, 3\).*frame=0 to frame=5"
    ):
        gp.read(file, frame="all")


@pytest.mark.parametrize(
    ("axes", "keywords", "layout"),
    [
        ("ZYX", {"imagej": True}, "DHW"),
        ("TYX", {"ome": True}, "THW"),
        ("TZYX", {"imagej": True}, "TDHW"),
        ("TZCYX", {"imagej": True}, "TDCHW"),
        ("TZCYX", {"ome": True}, "TDCHW"),
        ("CZYX", {"ome": True}, "DCHW"),
        ("TYXS", {"ome": True, "photometric": "rgb"}, "THWC"),
        ("ZTYX", {}, "DTHW"),
        ("QYX", {}, "NHW"),
        ("IYXS", {"photometric": "rgb"}, "NHWC"),
    ],
)
def test_all_frames_have_the_axes_of_the_file(axes, keywords, layout):
    sizes = {"T": 2, "Z": 4, "C": 3, "Y": 10, "X": 12, "S": 3, "Q": 5, "I": 5}
    shape = [sizes[axis] for axis in axes]
    stack = RNG.integers(0, 65536, shape, dtype=np.uint16)
    file = io.BytesIO()
    keywords = {"photometric": "minisblack", **keywords}
    tifffile.imwrite(file, stack, metadata={"axes": axes}, **keywords)
    image, source = gp.read(file, frame="all")
    assert source.layout == layout
    if axes == "CZYX":
        stack = stack.swapaxes(0, 1)
    np.testing.assert_array_equal(image, stack)


def test_all_pages_are_stacked_along_n():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as out:
        for page in (GRAY16, GRAY16[::-1], GRAY16[:, ::-1]):
            out.write(page, metadata=None)
    image, source = gp.read(file, frame="all")
    np.testing.assert_array_equal(
        image, np.stack([GRAY16, GRAY16[::-1], GRAY16[:, ::-1]])
    )
    assert source == gp.Source("gray", "NHW", dtype="uint16")
    with tifffile.TiffWriter(file := io.BytesIO()) as out:
        out.write(GRAY16, metadata=None)
        out.write(GRAY16[1:], metadata=None)
    with pytest.raises(gp.ReadError, match="frames of one size"):
        gp.read(file, frame="all")


def test_only_pages_that_are_read_are_loaded(monkeypatch):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as out:
        for value in range(50):
            out.write(np.full((4, 5), value, np.uint8), metadata=None)
    loaded = []
    load = tifffile.TiffPage.__init__

    def count(self, parent, /, index, **keywords):
        loaded.append(index)
        load(self, parent, index, **keywords)

    monkeypatch.setattr(tifffile.TiffPage, "__init__", count)
    assert gp.read(file, frame=40)[0][0, 0] == 40
    assert len(loaded) == 2
    loaded.clear()
    image, _ = gp.read(file, frame="all")
    np.testing.assert_array_equal(image[:, 0, 0], np.arange(50))
    assert len(loaded) == 50


def test_pages_that_refer_to_each_other_are_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as out:
        out.write(GRAY8, metadata=None)
        out.write(GRAY8, metadata=None)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tif:
        first = tif.pages[0].offset
        last_offset = tif.pages.next_page_offset
    data = bytearray(file.getvalue())
    data[last_offset : last_offset + 4] = struct.pack("<I", first)
    with pytest.raises(gp.ReadError, match="list of pages has no end"):
        gp.read(bytes(data), frame=0)


class CountingFile(io.BytesIO):
    """A file that counts the bytes that are read from it."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self.count += size
        return size


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    ("metadata", "planarconfig"),
    [(None, "separate"), ({}, "separate"), ({"axes": "CYX"}, None)],
)
def test_only_selected_planes_are_read(metadata, planarconfig, compression):
    scene = RNG.integers(0, 65536, (13, 64, 80), dtype=np.uint16)
    file = io.BytesIO()
    keywords = {"metadata": metadata, "compression": compression}
    if planarconfig is not None:
        keywords["planarconfig"] = planarconfig
    else:
        keywords["ome"] = True
    tifffile.imwrite(file, scene, photometric="minisblack", rowsperstrip=20, **keywords)
    counting = CountingFile(file.getvalue())
    image, source = gp.read(counting, select=("band4", "band3", "band2"))
    np.testing.assert_array_equal(image, scene[[3, 2, 1]])
    assert source == gp.Source(("band4", "band3", "band2"), "CHW", dtype="uint16")
    plane = len(file.getvalue()) / 13
    assert counting.count < 4 * plane
    names = [f"B{number:02}" for number in range(1, 14)]
    image, source = gp.read(file, bands=names, select=("B13", "B01"))
    np.testing.assert_array_equal(image, scene[[12, 0]])
    assert source.bands == ("B13", "B01")
    pairs = [(0, number) for number in range(1, 14)]
    selected = gp.read(file, bands=names, select=("B13", "B01"), range=pairs)[1]
    assert selected.range == ((0, 13), (0, 1))
    with pytest.raises(gp.ReadError, match=r"select= names \('B14', 'B15'\)"):
        gp.read(file, bands=names, select=("B14", "B15"))
    with pytest.raises(gp.ReadError, match=r"13 bands.*declare all 13 in the order"):
        gp.read(file, bands=names[:12], select=("B01",))


def test_selected_bands_have_the_names_of_the_file():
    scene = RNG.integers(0, 65536, (2, 3, 20, 30), dtype=np.uint16)
    file = io.BytesIO()
    metadata = {"axes": "TCYX", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    tifffile.imwrite(file, scene, ome=True, metadata=metadata)
    image, source = gp.read(file, frame=1, select=("Cy5", "DAPI"))
    np.testing.assert_array_equal(image, scene[1, [2, 0]])
    assert source == gp.Source(("Cy5", "DAPI"), "CHW", dtype="uint16")
    image, source = gp.read(file, frame="all", select=("GFP",))
    np.testing.assert_array_equal(image, scene[:, 1:2])
    assert source == gp.Source(("GFP",), "TCHW", dtype="uint16")
    renamed = {"bands": ("a", "b", "c"), "frame": 0}
    image, source = gp.read(file, select=("c", "a"), **renamed)
    np.testing.assert_array_equal(image, scene[0, [2, 0]])


def test_messages_of_tifffile_are_not_logged(caplog, capfd):
    file = io.BytesIO()
    tifffile.imwrite(file, GRAY8, metadata=None)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tif:
        entry = tif.pages[0].tags[282].offset
    data = bytearray(file.getvalue())
    # A value outside of the file, so that tifffile skips the tag.
    data[entry + 8 : entry + 12] = b"\xff\xff\xff\x7f"
    with pytest.raises(gp.ReadError, match=r"damaged \(tifffile: <TiffTag"):
        gp.read(bytes(data))
    assert caplog.records == []
    logged = []

    def use_tifffile():
        tifffile.TiffFile(io.BytesIO(data)).close()
        logged.extend(caplog.records)

    thread = threading.Thread(target=use_tifffile)
    thread.start()
    thread.join()
    assert len(logged) > 0
    assert capfd.readouterr().err == ""
    assert logging.getLogger("tifffile").filters != []
