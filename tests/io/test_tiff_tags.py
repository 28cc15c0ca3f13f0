"""Tags of a TIFF file that say what its samples mean: white, bits, palette, alpha, nodata."""

import io
import struct
import threading

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image, ImageOps

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(9)
GRAY8 = RNG.integers(0, 255, (37, 50), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (37, 50), dtype=np.uint16)
FLOAT = RNG.random((37, 50), dtype=np.float32)
RGB8 = RNG.integers(0, 256, (37, 50, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (37, 50, 3), dtype=np.uint16)
NORTH_UP = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)

WIDTH = 256
BITS = 258
PHOTOMETRIC = 262
SAMPLES = 277
PLANAR = 284
SAMPLE_FORMAT = 339


def test_16_bit_palettes_keep_their_colours(tmp_path):
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
def test_white_is_zero_reverses_the_range(tmp_path, dtype):
    path = tmp_path / "white.tif"
    stored = GRAY16.astype(dtype)
    tifffile.imwrite(path, stored, photometric="miniswhite")
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, stored)
    maximum = 1 if dtype == "bool" else np.iinfo(dtype).max
    assert source.range == (maximum, 0)
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_array_equal(unit[stored == 0], 1)
    if dtype == "uint16":
        assert gp.read(path, range=(4095, 0))[1].range == (4095, 0)
        for keywords in ({"range": (0, 4095)}, {"bits": 12}):
            with pytest.raises(
                gp.ReadError, match=r"white\.tif: .*stores white as the lowest value"
            ):
                gp.read(path, **keywords)
    if dtype == "uint8":
        # Pillow inverts such files.
        with Image.open(path) as opened:
            np.testing.assert_array_equal(np.asarray(opened), 255 - stored)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_packed_bits_are_the_bits_of_the_source(tmp_path, bits):
    stored = RNG.integers(
        0, 2**bits, (8, 16), dtype=np.uint8 if bits < 8 else np.uint16
    )
    path = tmp_path / "packed.tif"
    tifffile.imwrite(path, stored, bitspersample=bits, photometric="minisblack")
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, stored)
    assert source.bits == bits
    with pytest.raises(
        gp.ReadError, match=rf"packed\.tif: the file has {bits} bits.*declare 8"
    ):
        gp.read(path, bits=8)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64"])
def test_integers_without_implied_range_require_one(tmp_path, dtype):
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
def test_alpha_policies_apply_unless_opaque(tmp_path, kind, dtype, planar):
    path = tmp_path / "alpha.tif"
    maximum = 1 if dtype == "float32" else np.iinfo(dtype).max
    colour = (RGB16 / 65535 * maximum).astype(dtype)
    alpha = (GRAY16 / 65535 * maximum).astype(dtype)
    alpha[:2] = (0, maximum, maximum // 2, 0, maximum) * 10
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
    part = alpha[..., None].astype(np.float64) / maximum
    for ground, level in (("white", maximum), ("black", 0)):
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
    pixels[..., 3] = maximum
    tifffile.imwrite(
        path, pixels.transpose(axes), photometric="rgb", extrasamples=[kind], **keywords
    )
    np.testing.assert_array_equal(gp.read(path)[0], pixels[..., :3].transpose(axes))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_policies(tmp_path, orientation):
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


def test_nodata_outside_the_dtype_is_ignored(tmp_path):
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


def nodata_tag(text):
    return {"extratags": [(42113, "s", 0, text, True)]}


def test_nodata_of_a_palette_is_alpha(tmp_path):
    path = tmp_path / "palette.tif"
    clear = int(GRAY8[3, 4])
    keywords = {
        "dtype": "uint8",
        "nodata": clear,
        "photometric": "palette",
        "transform": NORTH_UP,
    }
    colours = RNG.integers(0, 256, (256, 3))
    with rasterio.open(path, "w", "GTiff", 50, 37, 1, **keywords) as out:
        out.write(GRAY8, 1)
        out.write_colormap(
            1, {at: (*map(int, colour), 255) for at, colour in enumerate(colours)}
        )
    assert facts(path)["alpha"]
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    expected = colours[GRAY8]
    np.testing.assert_array_equal(gp.read(path, alpha="drop")[0], expected)
    expected[clear == GRAY8] = 255
    np.testing.assert_array_equal(gp.read(path, alpha="white")[0], expected)


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("int64", str(2**53 + 1), 2**53 + 1),
        ("int64", str(2**63 - 1), 2**63 - 1),
        ("int64", str(2**63), None),
        ("int64", str(-(2**63)), -(2**63)),
        ("uint64", str(2**63 + 1), 2**63 + 1),
        ("int16", "-9999.0", -9999),
        ("uint8", "-3.4e+38", None),
        ("uint8", "nan", None),
        ("uint8", "inf", None),
        ("uint8", "", None),
        ("float32", " ", None),
        ("float32", "0,5", 0.5),
    ],
)
def test_nodata_is_exact_or_none(tmp_path, caplog, dtype, text, expected):
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, np.full((4, 4), 5, dtype), **nodata_tag(text))
    source = gp.read(path, range=(0, 100))[1]
    # Python compares integers with floats exactly.
    assert source.nodata == expected
    assert caplog.records == []


def test_nodata_that_is_not_a_number_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "scene.tif", GRAY8, **nodata_tag("none"))
    with pytest.raises(
        gp.ReadError,
        match=r"scene\.tif: the nodata value is 'none', not a number: correct",
    ):
        gp.read(tmp_path / "scene.tif")


def test_messages_of_other_threads_are_kept(tmp_path, caplog, monkeypatch):
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, GRAY8, **nodata_tag("-9999"))
    page = tifffile.TiffPage.asarray

    def meanwhile(self, *args, **keywords):
        other = threading.Thread(target=tifffile.imread, args=(path,))
        monkeypatch.setattr(tifffile.TiffPage, "asarray", page)
        other.start()
        other.join()
        return page(self, *args, **keywords)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", meanwhile)
    gp.read(path)
    assert ["GDAL_NODATA" in record.getMessage() for record in caplog.records] == [True]


def test_24_bit_samples_are_read(tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.full((8, 8), 7, np.uint32), bitspersample=24)
    assert gp.read(path)[1].bits == 24


def write_edited_tiff(path, array, edit):
    """Save `array` as a TIFF file, then replace the values of some tags."""
    Image.fromarray(array).save(path, tiffinfo={SAMPLE_FORMAT: 1})
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(
        start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12
    ):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in edit:
            struct.pack_into("<HHII", data, entry, tag, 3, 1, edit[tag])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_plan_maps_zero_as_white_to_one(tmp_path, dtype):
    stored = np.array([[0, np.iinfo(dtype).max]], dtype)
    image, source = gp.read(
        write_edited_tiff(tmp_path / "white.tif", stored, edit={PHOTOMETRIC: 0})
    )
    np.testing.assert_array_equal(
        gp.plan(source, gp.Target("gray", "HW"))(image), [[1, 0]]
    )


def test_signed_bytes_do_not_wrap(tmp_path):
    stored = np.array([[128, 255, 0, 127]], np.uint8)  # -128, -1, 0, 127
    path = write_edited_tiff(tmp_path / "signed.tif", stored, edit={SAMPLE_FORMAT: 2})
    with pytest.raises(gp.ReadError, match=r"signed\.tif: the file holds int8.*range="):
        gp.read(path)
    image, _ = gp.read(path, range=(-128, 127))
    np.testing.assert_array_equal(image, [[-128, -1, 0, 127]])


def test_packed_12_bit_pixels_are_12_bits(tmp_path):
    # Two pixels of 12 bits: 0 and 4095.
    stored = np.array([[0x00, 0x0F, 0xFF]], np.uint8)
    image, source = gp.read(
        write_edited_tiff(tmp_path / "packed.tif", stored, edit={WIDTH: 2, BITS: 12})
    )
    np.testing.assert_array_equal(image, [[0, 4095]])
    assert source.bits == 12


def test_contradictory_sample_tags_are_damage(tmp_path):
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for edit in ({SAMPLES: 2}, {SAMPLES: 1}, {PLANAR: 9}):
        with pytest.raises(gp.ReadError, match=r"tags\.tif: "):
            gp.read(write_edited_tiff(tmp_path / "tags.tif", stored, edit=edit))


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_16_bit_pixels_from_pillow_keep_every_level(tmp_path, byte_order):
    levels = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)
    path = tmp_path / "levels.tif"
    little = byte_order == "<"
    Image.frombytes(
        "I;16" if little else "I;16B",
        (16, 16),
        levels.astype(f"{byte_order}u2").tobytes(),
    ).save(path)
    image, source = gp.read(path)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, levels)
    assert np.unique(gp.plan(source, "imagenet")(image)[0]).size == 256


def one_bit_palette(pixels, colours):
    """Return a TIFF file of one bit per pixel; colours have the shape (3, 2)."""
    data = np.packbits(pixels, axis=1).tobytes()
    palette = np.array(colours, "<u2").tobytes()
    height, width = pixels.shape
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 1, 1),
        (262, 3, 1, 3),
        (273, 4, 1, 8),
        (278, 3, 1, height),
        (279, 4, 1, len(data)),
        (320, 3, 6, 8 + len(data)),
    ]
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data) + len(palette))
        + data
        + palette
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + bytes(4)
    )


def test_palettes_of_one_bit_are_indexed():
    for colours in ([[0, 65535], [257, 0], [0, 0]], [[65535, 0]] * 3):
        data = one_bit_palette(GRAY8 > 99, colours)
        image, source = gp.read(data)
        with Image.open(io.BytesIO(data)) as opened:
            expected = np.asarray(opened.convert("RGB"))
        if source.bands == ("gray",):
            expected = expected[..., 0]
        np.testing.assert_array_equal(image, expected)
        assert facts(data)["bands"] == len(source.bands)


@pytest.mark.parametrize(("dtype", "value"), [("B", 8), ("H", 8), ("I", 8)])
def test_orientation_may_have_any_integer_type(dtype, value):
    file = io.BytesIO()
    tifffile.imwrite(file, GRAY8, extratags=[(274, dtype, 1, value, True)])
    assert facts(file)["orientation"] == 8
    with pytest.raises(gp.ReadError, match="orientation 8"):
        gp.read(file)
    np.testing.assert_array_equal(
        gp.read(file, orientation="apply")[0], np.rot90(GRAY8)
    )


@pytest.mark.parametrize(
    "tag", [("H", 1, 9), ("B", 2, (6, 6)), ("H", 2, (6, 1)), ("f", 1, 6.5)]
)
def test_invalid_orientation_is_damaged(tag):
    file = io.BytesIO()
    tifffile.imwrite(file, GRAY8, extratags=[(274, *tag, True)])
    assert facts(file)["orientation"] is None
    for policy in ("error", "apply"):
        with pytest.raises(gp.ReadError, match="orientation metadata"):
            gp.read(file, orientation=policy)
    np.testing.assert_array_equal(gp.read(file, orientation="ignore")[0], GRAY8)
