"""What the samples of a TIFF page are: colours, a palette, alpha, bands with names, in which 0 may be white.

Values of tags are those of TIFF 6.0, section 8; names and nodata those of GDAL's GeoTIFF driver, of ImageJ and of OME.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from ..engine import limits
from ..errors import ReadError
from .alpha import levels
from .decoded import Stored
from .pillow import flat, through_palette

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MINISWHITE, MINISBLACK, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
"""PhotometricInterpretation."""

JPEG = 7
"""The compression under which tifffile turns YCbCr into RGB."""

ASSOCIATED, UNASSOCIATED = 1, 2
"""ExtraSamples that are alpha, colours multiplied by it or not."""

GDAL_METADATA, GDAL_NODATA = 42112, 42113


def check(page: "TiffPage") -> None:
    """Raise ReadError where tags contradict each other, which tifffile settles in its own way."""
    samples, bits = page.samplesperpixel, page.tags.get(258)
    if page.planarconfig not in (1, 2) or (
        bits is not None and bits.count not in (1, samples)
    ):
        raise ReadError(
            f"its tags disagree on whether a pixel has {samples} samples: the file is damaged"
        )
    least = 3 if page.photometric in (RGB, YCBCR) else 1
    if samples - len(page.extrasamples) < least:
        raise ReadError(
            f"its colours need {least} samples, got {samples}, {len(page.extrasamples)} of them extra"
        )


def alpha(page: "TiffPage") -> int | None:
    """Return which sample of a pixel is alpha, None where none is."""
    extras = [int(extra) for extra in page.extrasamples]
    found = [
        place
        for place, extra in enumerate(extras)
        if extra in (ASSOCIATED, UNASSOCIATED)
    ]
    if len(found) > 1:
        raise ReadError(f"{len(found)} of its samples are alpha: expected one at most")
    place = page.samplesperpixel - len(extras) + found[0] if found else None
    if place is not None and _described(page)[place].lower() not in ("", "a", "alpha"):
        return None  # GDAL marks the fourth band of uint8 so by default, whatever it is
    return place


def state(
    image: NDArray[Any], layout: str, page: "TiffPage", named: Sequence[str] | None
) -> Stored:
    """Return what ``image``, the pixels of ``page``, holds: its bands, without alpha, and what the tags state."""
    place = alpha(page) if "C" in layout else None
    opacity = None
    if place is not None:
        axis = layout.index("C")
        opacity = np.ascontiguousarray(image.take(place, axis))
        image = np.delete(image, place, axis)
        named = named and [name for at, name in enumerate(named) if at != place]
        if image.shape[axis] == 1:
            image, layout = image.squeeze(axis), "HW"
    listed = colours(page)
    if listed is not None:
        clear = nodata(page, image.dtype)
        if clear is not None:
            full = np.iinfo(image.dtype).max if opacity is None else opacity
            opacity = np.where(image == clear, 0, full).astype(image.dtype)
        return _through_palette(image, listed, opacity)
    return Stored(
        image.astype(image.dtype.newbyteorder("="), copy=False),
        layout,
        _bands(page, image.shape[layout.index("C")] if "C" in layout else 1, named),
        opacity,
        place is not None and ASSOCIATED in page.extrasamples,
        states=_states(page, image.dtype),
        sample=place,
    )


def _bands(
    page: "TiffPage", count: int, named: Sequence[str] | None
) -> str | tuple[str, ...] | None:
    colour = page.photometric == RGB or (
        page.photometric == YCBCR and page.compression == JPEG
    )
    if not colour and page.photometric not in (MINISBLACK, MINISWHITE):
        name = getattr(page.photometric, "name", page.photometric)
        hint = ", inks rather than light" if page.photometric == SEPARATED else ""
        raise ReadError(
            f"expected gray, RGB, a palette or bands, got a TIFF of {name}{hint}: convert it first"
        )
    if named and len(named) == count and len(set(named)) == count and all(named):
        return tuple(named)
    return "gray" if count == 1 else "RGB" if colour and count == 3 else None


def _states(page: "TiffPage", dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return what the tags say of the values: bits that fill no whole dtype, 0 as white, nodata."""
    states: dict[str, Any] = {}
    if dtype.kind == "u" and page.bitspersample != 8 * dtype.itemsize:
        states["bits"] = int(page.bitspersample)
    if page.photometric == MINISWHITE:
        if dtype.kind not in "bu":
            raise ReadError(
                f"in this file 0 is white, and {dtype} does not say what is black: save it with 0 as black"
            )
        states = {"range": (2.0 ** int(page.bitspersample) - 1, 0.0)}
    clear = nodata(page, dtype)
    return states if clear is None else {**states, "nodata": clear}


def nodata(page: "TiffPage", dtype: np.dtype[Any]) -> float | None:
    """Return the value that marks pixels without data, None where no pixel can have it; integers are exact."""
    text = (
        str(page.tags.valueof(GDAL_NODATA, default="")).strip(" \0").replace(",", ".")
    )
    if not text:
        return None
    try:
        if dtype.kind == "f":
            return float(text)
        value = int(text) if text.removeprefix("-").isdecimal() else float(text)
    except ValueError:
        raise ReadError(
            f"its nodata value is {text!r}, no number: correct the tag GDAL_NODATA"
        ) from None
    low, high = limits(dtype)
    return int(value) if value % 1 == 0 and low <= value <= high else None


def colours(page: "TiffPage") -> NDArray[Any] | None:
    """Return the palette, (n, 3), None where there is none: uint8 where it holds colours of 8 bits, else uint16.

    Colours of 8 bits are written as c·257, and by older writers as c·256.
    """
    if page.photometric != PALETTE:
        return None
    listed = page.colormap
    if listed is None or listed.ndim != 2 or len(listed) != 3:
        raise ReadError("its palette is missing or damaged")
    high, low = np.divmod(listed.T, 256)
    return (
        high.astype(np.uint8)
        if bool((low == high).all()) or not low.any()
        else np.ascontiguousarray(listed.T)
    )


def bands_of(listed: NDArray[Any]) -> int:
    """Return how many bands the colours of a palette need."""
    return 1 if flat(listed) else 3


def _through_palette(
    indices: NDArray[Any], listed: NDArray[Any], opacity: NDArray[Any] | None
) -> Stored:
    stored = through_palette(indices, listed)
    if opacity is None:
        return stored
    scale = np.iinfo(listed.dtype).max // np.iinfo(opacity.dtype).max
    return stored._replace(
        alpha=opacity.astype(listed.dtype) * listed.dtype.type(scale)
    )


def masked(stored: Stored, mask: NDArray[Any]) -> Stored:
    """Return ``stored`` with the mask of another page as its alpha."""
    pixels = (
        stored.image.shape[1:] if stored.layout == "CHW" else stored.image.shape[:2]
    )
    if mask.shape != pixels:
        raise ReadError(f"its mask has shape {mask.shape}, its image {pixels}")
    return stored._replace(
        alpha=np.where(mask != 0, max(levels(stored)), 0).astype(stored.image.dtype)
    )


def names(tif: "TiffFile", page: "TiffPage") -> list[str] | None:
    """Return the names of the bands, where the file has them: GDAL's descriptions, ImageJ's labels, OME's channels."""
    if GDAL_METADATA in page.tags:
        return _described(page)
    if tif.is_imagej:
        return _labelled(tif, page)
    return _channels(tif, page) if tif.is_ome else None


def _described(page: "TiffPage") -> list[str]:
    """Return GDAL's description of every sample of a pixel, "" where it has none."""
    try:
        items = list(
            ET.fromstring(page.tags.valueof(GDAL_METADATA, default="")).iter("Item")
        )
    except ET.ParseError:
        items = []
    held = {
        item.get("sample"): item.text
        for item in items
        if item.get("role") == "description"
    }
    return [held.get(str(number)) or "" for number in range(page.samplesperpixel)]


def _labelled(tif: "TiffFile", page: "TiffPage") -> list[str] | None:
    """Return ImageJ's labels, which it keeps for planes: these are bands only where no depth, time or colour is."""
    held = tif.imagej_metadata or {}
    if page.samplesperpixel > 1 or held.get("slices", 1) * held.get("frames", 1) > 1:
        return None
    return [str(label) for label in held.get("Labels", [])]


def _channels(tif: "TiffFile", page: "TiffPage") -> list[str] | None:
    """Return the channels of the OME image to which ``page`` belongs."""
    try:
        parts = ET.fromstring(tif.ome_metadata or "").iter()
    except ET.ParseError:
        return None
    images = [part for part in parts if part.tag.endswith("}Image")]
    if len(images) != len(tif.series):
        return None
    for image, series in zip(images, tif.series, strict=True):
        if any(held is not None and held.index == page.index for held in series.pages):
            return [
                part.get("Name") or ""
                for part in image.iter()
                if part.tag.endswith("}Channel")
            ]
    return None
