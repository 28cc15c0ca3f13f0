"""TIFF: storage, layouts and pages, against Pillow, OpenCV or what was written."""

import struct

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
