"""Interpret the TIFF tags that describe samples.

Constants follow TIFF 6.0, section 8, and the GeoTIFF driver of GDAL for nodata.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine import limits
from ..errors import ReadError
from .decoded import bits_keyword
from .exif import ORIENTATION, validate_orientation
from .tiff_band_names import gdal_descriptions

if TYPE_CHECKING:
    from tifffile import TiffPage

BITS_PER_SAMPLE = 258
GDAL_NODATA = 42113

# PhotometricInterpretation.
WHITE_IS_ZERO = 0
BLACK_IS_ZERO = 1
RGB = 2
PALETTE = 3
SEPARATED = 5
YCBCR = 6

# Compression. tifffile converts YCbCr to RGB only for JPEG-compressed data.
JPEG = 7

# PlanarConfiguration: interleaved samples, or separate planes.
CONTIGUOUS = 1
SEPARATE = 2

# ExtraSamples: premultiplied (associated) and straight (unassociated) alpha.
ASSOCIATED_ALPHA = 1
UNASSOCIATED_ALPHA = 2


def check_tags(page: "TiffPage") -> None:
    """Raise ReadError if tags contradict each other.

    tifffile would trust one of them and might return wrong samples.
    """
    sample_count = page.samplesperpixel
    extra_count = len(page.extrasamples)
    bits_per_sample = page.tags.get(BITS_PER_SAMPLE)
    # The tag has one value for all samples, or one value per sample.
    counts_differ = bits_per_sample is not None and bits_per_sample.count not in (
        1,
        sample_count,
    )
    if page.planarconfig not in (CONTIGUOUS, SEPARATE) or counts_differ:
        raise ReadError(
            "the tags contradict each other about the number of samples per pixel: "
            "the file is damaged"
        )
    colour_count = 3 if page.photometric in (RGB, YCBCR) else 1
    if sample_count - extra_count < colour_count:
        raise ReadError(
            f"expected at least {colour_count} colour samples, got {sample_count} "
            f"samples, of which {extra_count} are extra samples"
        )


def is_colour(page: "TiffPage") -> bool:
    """Return whether tifffile decodes the samples of a page to RGB."""
    is_converted = page.photometric == YCBCR and page.compression == JPEG
    return page.photometric == RGB or is_converted


def find_alpha_sample(page: "TiffPage") -> int | None:
    """Return the index of alpha among the samples of a pixel, or None if there is none.

    Raises
    ------
    ReadError
        If more than one sample is marked as alpha.
    """
    extras = [int(extra) for extra in page.extrasamples]
    # Extra samples are the last ones of a pixel.
    first_extra = page.samplesperpixel - len(extras)
    alpha_samples = []
    for number, extra in enumerate(extras):
        if extra in (ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA):
            alpha_samples.append(first_extra + number)
    if not alpha_samples:
        return None
    if len(alpha_samples) > 1:
        raise ReadError(
            f"expected at most one alpha sample per pixel, got {len(alpha_samples)}"
        )
    # GDAL marks the fourth of four uint8 bands as alpha by default, regardless of its
    # content. A description other than "alpha" indicates an ordinary band.
    description = gdal_descriptions(page)[alpha_samples[0]].lower()
    if description not in ("", "a", "alpha"):
        return None
    return alpha_samples[0]


def read_palette(page: "TiffPage") -> NDArray[Any] | None:
    """Return the palette of a page, or None if it has none.

    Returns
    -------
    ndarray or None
        RGB colours, shape (n, 3); uint8 if they are 8-bit colours, otherwise uint16.

    Raises
    ------
    ReadError
        If the palette is missing or has the wrong shape.
    """
    if page.photometric != PALETTE:
        return None
    colormap = page.colormap
    if colormap is None or colormap.ndim != 2 or len(colormap) != 3:
        raise ReadError("the palette is missing or damaged")
    # Palettes always have 16 bits. Most writers store an 8-bit value c as c * 257, and
    # older ones as c * 256.
    high, low = np.divmod(colormap.T, 256)
    if bool((low == high).all()) or not low.any():
        return high.astype(np.uint8)
    return np.ascontiguousarray(colormap.T)


def read_nodata(page: "TiffPage", dtype: np.dtype[Any]) -> float | None:
    """Return the value that marks pixels without data.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.
    dtype : dtype
        Element type of the pixels.

    Returns
    -------
    float or None
        An int for integer dtypes, because float64 does not represent all 64-bit
        integers. None if there is no nodata value or ``dtype`` cannot represent it.

    Raises
    ------
    ReadError
        If the tag is not a number.
    """
    text = str(page.tags.valueof(GDAL_NODATA, default="")).strip(" \0")
    # Some writers use the decimal comma of their locale.
    text = text.replace(",", ".")
    if not text:
        return None
    is_integer = text.removeprefix("-").isdecimal()
    try:
        if dtype.kind == "f":
            return float(text)
        value = int(text) if is_integer else float(text)
    except ValueError:
        raise ReadError(
            f"the nodata value is {text!r}, not a number: correct the tag GDAL_NODATA"
        ) from None
    low, high = limits(dtype)
    # NaN and infinity fail these comparisons: no integer can represent them.
    if value % 1 == 0 and low <= value <= high:
        return int(value)
    return None


def source_keywords(page: "TiffPage", dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the keywords of `Source` that are recorded in the tags of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.
    dtype : dtype
        Element type of the pixels.

    Returns
    -------
    dict
        - bits: if the samples use fewer bits than ``dtype``.
        - range: if 0 is white.
        - nodata: if the file has a nodata value.

    Raises
    ------
    ReadError
        If 0 is white and ``dtype`` does not imply which value is black.
    """
    keywords: dict[str, Any] = {}
    bits = int(page.bitspersample)
    if page.photometric == WHITE_IS_ZERO:
        if dtype.kind not in "bu":
            raise ReadError(
                f"the file is WhiteIsZero, but {dtype} has no implied black level: "
                "save it as BlackIsZero"
            )
        keywords["range"] = (2.0**bits - 1, 0.0)
    else:
        keywords.update(bits_keyword(bits, dtype))
    nodata = read_nodata(page, dtype)
    if nodata is not None:
        keywords["nodata"] = nodata
    return keywords


def read_orientation(page: "TiffPage") -> int | None:
    """Return the orientation of a page, 1 to 8, or None if it is invalid."""
    value = page.tags.valueof(ORIENTATION, default=1)
    if isinstance(value, bytes) and len(value) == 1:
        # TIFF 6.0 requires SHORT; some writers store BYTE.
        value = value[0]
    if not isinstance(value, int):
        return None
    return validate_orientation(value)
