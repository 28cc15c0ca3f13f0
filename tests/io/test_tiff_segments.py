"""Strips and tiles of TIFF files: damage that a codec can detect is an error."""

import io
import zlib

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

import graypipe as gp

ROWS, COLUMNS = np.mgrid[:48, :64]
GRAY8 = ((COLUMNS * 3 + ROWS * 5 + COLUMNS * ROWS % 7 * 9) % 256).astype(np.uint8)
GRAY16 = GRAY8.astype(np.uint16) * 257
RGB8 = np.dstack([GRAY8, GRAY8[::-1], GRAY8[:, ::-1]])
PAGE = np.sin(COLUMNS / 7) + np.cos(ROWS / 5) > 0
LAYOUTS = {
    "strip": {},
    "strips": {"rowsperstrip": 20},
    "tiles": {"tile": (16, 32)},
    "planes": {"planarconfig": "separate", "rowsperstrip": 20},
    "predictor": {"rowsperstrip": 20, "predictor": True},
}


def tiff(image, **keywords):
    """Return the bytes of a TIFF file without tifffile's own metadata."""
    file = io.BytesIO()
    tifffile.imwrite(file, image, metadata=None, **keywords)
    return file.getvalue()


def segments(data):
    """Return the first page of a file, and the (offset, size) of its segments."""
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        page = tif.pages[0]
        return page, list(zip(page.dataoffsets, page.databytecounts, strict=True))


def with_tag(data, code, position, value):
    """Return a TIFF file with one value of a tag replaced."""
    page, _ = segments(data)
    tag = page.tags[code]
    size = {3: 2, 4: 4, 16: 8}[tag.dtype]
    changed = bytearray(data)
    start = tag.valueoffset + position * size
    changed[start : start + size] = value.to_bytes(size, "little")
    return bytes(changed)


def size_tag(page):
    return 325 if page.is_tiled else 279


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "packbits"])
def test_segments_at_offset_zero_are_missing(layout, compression):
    keywords = {"photometric": "rgb", "compression": compression, **LAYOUTS[layout]}
    if compression not in ("deflate", "lzw"):
        keywords.pop("predictor", None)
    image = RGB8
    if layout == "planes":
        image = np.ascontiguousarray(RGB8.transpose(2, 0, 1))
    data = tiff(image, **keywords)
    np.testing.assert_array_equal(gp.read(data)[0], image)
    page, locations = segments(data)
    offset_tag = 324 if page.is_tiled else 273
    for number in (0, len(locations) - 1):
        with pytest.raises(gp.ReadError, match="strips or tiles, got"):
            gp.read(with_tag(data, offset_tag, number, 0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_checksums_of_deflate_segments_are_compared(layout):
    image = GRAY16
    if layout == "planes":
        image = np.stack([GRAY16, GRAY16[::-1], GRAY16[:, ::-1]])
    data = tiff(
        image, photometric="minisblack", compression="deflate", **LAYOUTS[layout]
    )
    np.testing.assert_array_equal(gp.read(data)[0], image)
    for offset, size in segments(data)[1]:
        for end in range(offset + size - 4, offset + size):
            damaged = bytearray(data)
            damaged[end] ^= 1
            with pytest.raises(gp.ReadError, match="cannot be read"):
                gp.read(bytes(damaged))


@pytest.mark.parametrize("rows", [20, 50])
@pytest.mark.parametrize("codec", ["deflate", "packbits", "zstd"])
def test_last_strips_may_be_padded(codec, rows):
    encode = {
        "deflate": zlib.compress,
        "packbits": imagecodecs.packbits_encode,
        "zstd": imagecodecs.zstd_encode,
    }[codec]
    padded = np.zeros((60 if rows == 20 else 50, 64), np.uint8)
    padded[:48] = GRAY8
    strips = [padded[at : at + rows].tobytes() for at in range(0, 48, rows)]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        iter([encode(strip) for strip in strips]),
        shape=(48, 64),
        dtype=np.uint8,
        compression=codec,
        rowsperstrip=min(rows, 48),
        photometric="minisblack",
        metadata=None,
    )
    data = file.getvalue()
    if rows == 50:
        data = with_tag(data, 278, 0, 50)
    np.testing.assert_array_equal(gp.read(data)[0], GRAY8)


@pytest.mark.parametrize(
    ("codec", "image"),
    [
        ("deflate", GRAY16),
        ("lzw", GRAY16),
        ("packbits", GRAY8),
        ("zstd", GRAY16),
        ("lzma", GRAY16),
        ("jpeg", GRAY8),
        ("jpeg", RGB8),
        ("jpeg2000", RGB8),
        ("jpegxl", RGB8),
        ("webp", RGB8),
        ("png", RGB8),
        ("lerc", GRAY16),
    ],
)
@pytest.mark.parametrize("layout", ["strips", "tiles"])
def test_segments_that_end_early_raise(codec, image, layout):
    photometric = "rgb" if image.ndim == 3 else "minisblack"
    data = tiff(image, photometric=photometric, compression=codec, **LAYOUTS[layout])
    expected = gp.read(data)[0]
    np.testing.assert_array_equal(expected, tifffile.imread(io.BytesIO(data)))
    page, locations = segments(data)
    _, size = locations[0]
    for kept in (size // 4, size // 2, size * 7 // 8):
        with pytest.raises(gp.ReadError):
            gp.read(with_tag(data, size_tag(page), 0, kept))


@pytest.mark.parametrize(
    "image", [GRAY8, GRAY16, RGB8, np.dstack([RGB8, GRAY8])], ids=lambda a: str(a.shape)
)
def test_checksums_of_png_tiles_are_compared(image, capfd):
    photometric = "rgb" if image.ndim == 3 else "minisblack"
    options = {"photometric": photometric, "compression": "png", "tile": (32, 32)}
    if image.shape[2:] == (4,):
        options["extrasamples"] = ["unspecified"]
    data = tiff(image, **options)
    np.testing.assert_array_equal(gp.read(data)[0], image)
    for offset, size in segments(data)[1]:
        damaged = bytearray(data)
        # In the last chunk of pixels: the CRC, or the checksum of all rows.
        for back in (13, 17):
            damaged[offset + size - back] ^= 1
            with pytest.raises(gp.ReadError):
                gp.read(bytes(damaged))
    assert capfd.readouterr().err == ""


def test_jpeg_xr_is_refused():
    # Damaged data crash its decoder.
    with pytest.raises(gp.ReadError, match=r"JPEG XR is not supported.*tifffile"):
        gp.read(tiff(RGB8, photometric="rgb", compression="jpegxr"))


@pytest.mark.parametrize("image", [PAGE, ~PAGE], ids=["black", "white"])
@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_ccitt_strips_that_end_early_raise(compression, image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "TIFF", compression=compression)
    data = file.getvalue()
    np.testing.assert_array_equal(gp.read(data)[0], image)
    page, [(_, size)] = segments(data)
    cuts = range(8, size - 4, 5)
    refused = 0
    for cut in cuts:
        try:
            gp.read(with_tag(data, size_tag(page), 0, size - cut))
        except gp.ReadError as error:
            refused += "ends early" in str(error)
    assert refused > 0.9 * len(cuts)


def test_warnings_of_libjpeg_are_errors():
    data = tiff(GRAY8, photometric="minisblack", compression="jpeg")
    _, [(offset, size)] = segments(data)
    damaged = bytearray(data)
    # The marker EOI in the middle of the scan.
    damaged[offset + size // 2 : offset + size // 2 + 2] = b"\xff\xd9"
    with pytest.raises(gp.ReadError, match="cannot be read"):
        gp.read(bytes(damaged))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2), (2, 1)])
def test_jpeg_colours_are_those_of_tifffile(subsampling):
    for keywords in (
        {"photometric": "ycbcr", "subsampling": subsampling},
        {"photometric": "rgb"},
        {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}},
    ):
        for layout in ({"tile": (16, 32)}, {"rowsperstrip": 16}):
            file = io.BytesIO()
            options = {"compression": "jpeg", **keywords, **layout}
            tifffile.imwrite(file, RGB8, metadata=None, **options)
            image, source = gp.read(file)
            file.seek(0)
            np.testing.assert_array_equal(image, tifffile.imread(file))
            assert source.bands == ("R", "G", "B")


def test_jpeg_tables_are_shared_by_segments():
    profile = {
        "count": 1,
        "dtype": "uint8",
        "compress": "jpeg",
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5000000),
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=64, height=48, **profile) as out:
            out.write(GRAY8, 1)
        data = memory.read()
    page, _ = segments(data)
    assert page.jpegtables is not None
    np.testing.assert_array_equal(gp.read(data)[0], tifffile.imread(io.BytesIO(data)))
