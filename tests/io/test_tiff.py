"""TIFF by way of tifffile: every level, layout, band and page, against Pillow, OpenCV or what was written."""

import cv2
import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image, ImageOps

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(9)
GRAY8 = RNG.integers(0, 256, (37, 50), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (37, 50), dtype=np.uint16)
FLOAT = RNG.random((37, 50), dtype=np.float32)
RGB8 = RNG.integers(0, 256, (37, 50, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (37, 50, 3), dtype=np.uint16)
NORTH_UP = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)
SENTINEL = (*(f"B{number:02}" for number in range(1, 13)), "B8A")

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
def test_every_level_is_read_back_however_it_is_stored(tmp_path, storage):
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
        known = facts(path)
        assert (known["width"], known["height"], known["dtype"]) == (
            50,
            37,
            image.dtype.name,
        )
        assert (known["bands"], known["frames"], known["alpha"]) == (
            len(source.bands),
            1,
            False,
        )


def assert_as_opencv(path, read):
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if (
        decoded is not None
    ):  # big-endian files with a predictor, and zstd, are beyond it
        np.testing.assert_array_equal(
            read, decoded[..., ::-1] if read.ndim == 3 else decoded
        )


def test_planes_stay_planes(tmp_path):
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
def test_what_pillow_writes_is_read_back(tmp_path, mode):
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


def test_palettes_of_16_bit_colours_keep_them(tmp_path):
    colours = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "deep.tif", GRAY8, photometric="palette", colormap=colours
    )
    image, source = gp.read(tmp_path / "deep.tif")
    np.testing.assert_array_equal(image, colours.T[GRAY8])
    assert source == gp.Source("RGB", dtype="uint16")
    gray = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(
        tmp_path / "gray.tif", GRAY8, photometric="palette", colormap=gray[:, ::-1]
    )
    image, source = gp.read(tmp_path / "gray.tif")
    np.testing.assert_array_equal(image, 255 - GRAY8)
    assert source == gp.Source(dtype="uint8")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_where_zero_is_white_the_source_says_so(tmp_path, dtype):
    path = tmp_path / "white.tif"
    stored = GRAY16.astype(dtype)
    tifffile.imwrite(path, stored, photometric="miniswhite")
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, stored)
    most = 1 if dtype == "bool" else np.iinfo(dtype).max
    assert source.range == (most, 0)
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_array_equal(unit[stored == 0], 1)
    if dtype == "uint16":
        assert gp.read(path, range=(4095, 0))[1].range == (4095, 0)
        for keywords in ({"range": (0, 4095)}, {"bits": 12}):
            with pytest.raises(
                gp.ReadError, match=r"white\.tif: .*low values are white"
            ):
                gp.read(path, **keywords)
    if dtype == "uint8":
        with Image.open(path) as opened:  # which turns such files round
            np.testing.assert_array_equal(np.asarray(opened), 255 - stored)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_packed_bits_are_the_range_of_the_source(tmp_path, bits):
    stored = RNG.integers(
        0, 2**bits, (8, 16), dtype=np.uint8 if bits < 8 else np.uint16
    )
    path = tmp_path / "packed.tif"
    tifffile.imwrite(path, stored, bitspersample=bits, photometric="minisblack")
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, stored)
    assert source.bits == bits
    with pytest.raises(
        gp.ReadError, match=rf"packed\.tif: the file states {bits} bits.*declare 8"
    ):
        gp.read(path, bits=8)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64"])
def test_integers_without_a_white_level_ask_for_one(tmp_path, dtype):
    path = tmp_path / "scan.tif"
    stored = RNG.integers(-100, 100, (8, 9)).astype(dtype)
    tifffile.imwrite(path, stored)
    with pytest.raises(
        gp.ReadError, match=rf"scan\.tif: the file holds {dtype}.*range=.*bits="
    ):
        gp.read(path)
    image, source = gp.read(path, range=(0, 99))
    np.testing.assert_array_equal(image, stored)
    assert (source.dtype, source.range) == (dtype, (0, 99))


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planar", [False, True])
def test_alpha_has_a_policy_unless_it_is_opaque(tmp_path, kind, dtype, planar):
    path = tmp_path / "alpha.tif"
    most = 1 if dtype == "float32" else np.iinfo(dtype).max
    colour = (RGB16 / 65535 * most).astype(dtype)
    alpha = (GRAY16 / 65535 * most).astype(dtype)
    alpha[:2] = (0, most, most // 2, 0, most) * 10
    if kind == "assocalpha":
        colour = np.minimum(colour, alpha[..., None])
    pixels = np.dstack([colour, alpha])
    keywords = {"planarconfig": "separate"} if planar else {}
    axes = (2, 0, 1) if planar else (0, 1, 2)
    tifffile.imwrite(
        path, pixels.transpose(axes), photometric="rgb", extrasamples=[kind], **keywords
    )
    assert facts(path)["alpha"]
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    part = alpha[..., None].astype(np.float64) / most
    for ground, level in (("white", most), ("black", 0)):
        image, source = gp.read(path, alpha=ground)
        laid = (colour if kind == "assocalpha" else colour * part) + level * (1 - part)
        expected = (
            laid.astype(dtype) if dtype == "float32" else np.rint(laid).astype(dtype)
        )
        tolerance = 1e-6 if dtype == "float32" else 0
        np.testing.assert_allclose(
            image, expected.transpose(axes), rtol=0, atol=tolerance
        )
        assert source == gp.Source("RGB", "CHW" if planar else "HWC", dtype=dtype)
    if kind == "assocalpha":
        with pytest.raises(gp.ReadError, match="multiplied"):
            gp.read(path, alpha="drop")
    else:
        np.testing.assert_array_equal(
            gp.read(path, alpha="drop")[0], colour.transpose(axes)
        )
    pixels[..., 3] = most
    tifffile.imwrite(
        path, pixels.transpose(axes), photometric="rgb", extrasamples=[kind], **keywords
    )
    np.testing.assert_array_equal(gp.read(path)[0], pixels[..., :3].transpose(axes))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_has_a_policy(tmp_path, orientation):
    path = tmp_path / "turned.tif"
    for image, planar in [
        (RGB8, False),
        (GRAY8, False),
        (RGB8.transpose(2, 0, 1), True),
    ]:
        layout = (
            {"photometric": "rgb", "planarconfig": "separate" if planar else "contig"}
            if image.ndim == 3
            else {}
        )
        tifffile.imwrite(
            path, image, extratags=[(274, "H", 1, orientation, True)], **layout
        )
        if orientation > 1:
            with pytest.raises(gp.ReadError, match=f"orientation {orientation}"):
                gp.read(path)
        np.testing.assert_array_equal(gp.read(path, orientation="ignore")[0], image)
        stored = Image.fromarray(
            np.ascontiguousarray(image.transpose(1, 2, 0)) if planar else image
        )
        stored.getexif()[0x0112] = orientation
        upright = np.asarray(ImageOps.exif_transpose(stored))
        expected = upright.transpose(2, 0, 1) if planar else upright
        np.testing.assert_array_equal(gp.read(path, orientation="apply")[0], expected)


def test_pages_are_chosen_and_never_dropped(tmp_path):
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


def test_overviews_are_no_pages_and_masks_are_alpha(tmp_path):
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


def test_channels_are_bands_with_the_names_of_the_file(tmp_path):
    planes = RNG.integers(0, 65536, (3, 37, 50), dtype=np.uint16)
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(
        path,
        planes,
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}},
    )
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, planes)
    assert source == gp.Source(("DAPI", "GFP", "Cy5"), "CHW", dtype="uint16")
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path,
        planes,
        imagej=True,
        metadata={"axes": "CYX", "Labels": ["DAPI", "GFP", "Cy5"]},
    )
    assert gp.read(path)[1] == source
    tifffile.imwrite(
        path, planes, imagej=True, metadata={"axes": "CYX", "Labels": ["A", "A", "B"]}
    )
    with pytest.raises(gp.ReadError, match="3 bands and does not name them: declare"):
        gp.read(path)
    assert gp.read(path, bands="RGB")[1] == gp.Source("RGB", "CHW", dtype="uint16")


def test_frames_of_channels_are_taken_along_the_other_axes(tmp_path):
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


def test_bands_without_names_are_declared(tmp_path):
    five = RNG.integers(0, 65536, (37, 50, 5), dtype=np.uint16)
    path = tmp_path / "five.tif"
    tifffile.imwrite(path, five, photometric="minisblack", planarconfig="contig")
    with pytest.raises(
        gp.ReadError,
        match=r"five\.tif: the file holds 5 bands.*bands=\('B01', .*'B05'\)",
    ):
        gp.read(path)
    for wrong in ("RGB", "RGBYNX"):
        with pytest.raises(gp.ReadError, match="5 bands"):
            gp.read(path, bands=wrong)
    image, source = gp.read(path, bands="RGBYN")
    np.testing.assert_array_equal(image, five)
    assert source == gp.Source("RGBYN", dtype="uint16")


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_geotiff_of_13_bands_comes_with_its_names(tmp_path, interleave):
    scene = RNG.integers(1000, 11001, (13, 40, 48), dtype=np.uint16)
    path = tmp_path / "scene.tif"
    tiles = {
        "interleave": interleave,
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "compress": "deflate",
    }
    keywords = {
        "count": 13,
        "dtype": "uint16",
        "nodata": 0,
        "transform": NORTH_UP,
        **tiles,
    }
    with rasterio.open(path, "w", "GTiff", width=48, height=40, **keywords) as out:
        out.write(scene)
        out.descriptions = SENTINEL
    image, source = gp.read(path, range=(1000, 11000))
    layout = "HWC" if interleave == "pixel" else "CHW"
    assert source == gp.Source(
        SENTINEL, layout, dtype="uint16", range=(1000, 11000), nodata=0
    )
    np.testing.assert_array_equal(
        image, scene.transpose(1, 2, 0) if layout == "HWC" else scene
    )
    x = gp.plan(source, gp.Target("RGB"), via={"R": "B04", "G": "B03", "B": "B02"})(
        image
    )
    np.testing.assert_allclose(
        x, (scene[[3, 2, 1]] - 1000.0) / 10000, rtol=0, atol=1e-6
    )
    with pytest.raises(gp.ReadError, match="order"):
        gp.read(path, bands=SENTINEL[::-1])
    assert gp.read(path, nodata=None)[1].nodata is None


def test_a_nodata_that_the_dtype_cannot_hold_marks_nothing(tmp_path):
    path = tmp_path / "scene.tif"
    keywords = {
        "count": 1,
        "dtype": "float32",
        "nodata": float("nan"),
        "transform": NORTH_UP,
    }
    with rasterio.open(path, "w", "GTiff", width=50, height=37, **keywords) as out:
        out.write(FLOAT, 1)
    assert np.isnan(gp.read(path)[1].nodata)
    tifffile.imwrite(path, GRAY16, extratags=[(42113, "s", 0, "-9999", True)])
    assert gp.read(path)[1].nodata is None
    tifffile.imwrite(path, GRAY16, extratags=[(42113, "s", 0, "0.5", True)])
    assert gp.read(path)[1].nodata is None


def test_masks_of_several_pages_are_not_told_apart_by_guessing(tmp_path):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as out:
        for page in (GRAY8, GRAY8[::-1]):
            out.write(page, metadata=None)
            out.write(page > 99, subfiletype=4, metadata=None)
    assert facts(path)["frames"] == 2
    with pytest.raises(gp.ReadError, match="2 masks for 2 pages"):
        gp.read(path, frame=1)


def test_tiles_that_are_not_there_are_not_filled_in(tmp_path):
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
        gp.ReadError, match=r"sparse\.tif: 6 strips or tiles.*got 1.*sparse"
    ):
        gp.read(path)


def test_jpeg_in_tiff_is_colour_and_inks_are_refused(tmp_path):
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
    with pytest.raises(gp.ReadError, match=r"photo\.tif: .*SEPARATED \(printing inks\)"):
        gp.read(path)
    Image.new("LAB", (5, 4)).save(path)
    with pytest.raises(gp.ReadError, match=r"photo\.tif: .*CIELAB"):
        gp.read(path)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_16_bit_colour_and_alpha_of_png_keep_every_level(tmp_path, samples):
    pixels = RNG.integers(0, 65536, (37, 50, samples), dtype=np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    assert facts(path)["mode"] == {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[samples]
    image, source = gp.read(path, alpha="drop")
    expected = pixels[..., 0] if samples == 2 else pixels[..., :3]
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.flags.writeable) == (np.uint16, True)
    assert source == gp.Source("gray" if samples == 2 else "RGB", dtype="uint16")
    if samples == 3:
        np.testing.assert_array_equal(
            image, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        )
        return
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    part = pixels[..., -1:] / 65535
    laid = np.rint(pixels[..., :-1] * part + 65535 * (1 - part)).squeeze()
    np.testing.assert_array_equal(gp.read(path, alpha="white")[0], laid)
