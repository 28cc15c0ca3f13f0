"""What the samples of a TIFF page are: colours, a palette, alpha, bands with names, in which 0 may be white.

Values of tags are those of TIFF 6.0, section 8; names and nodata those of GDAL's GeoTIFF driver, of ImageJ and of OME.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from ..engine import holds
from ..errors import ReadError
from .alpha import levels
from .pillow import flat, through_palette
from .stored import Stored

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
    if page.planarconfig not in (1, 2) or (bits is not None and bits.count not in (1, samples)):
        raise ReadError(f"its tags disagree on whether a pixel has {samples} samples: the file is damaged")
    least = 3 if page.photometric in (RGB, YCBCR) else 1
    if samples - len(page.extrasamples) < least:
        raise ReadError(f"its colours need {least} samples, got {samples}, {len(page.extrasamples)} of them extra")


def alpha(page: "TiffPage") -> int | None:
    """Return which sample of a pixel is alpha, None where none is."""
    extras = [int(extra) for extra in page.extrasamples]
    found = [place for place, extra in enumerate(extras) if extra in (ASSOCIATED, UNASSOCIATED)]
    if len(found) > 1:
        raise ReadError(f"{len(found)} of its samples are alpha: expected one at most")
    return page.samplesperpixel - len(extras) + found[0] if found else None


def state(image: NDArray[Any], layout: str, page: "TiffPage", named: Sequence[str] | None) -> Stored:
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
        return _through_palette(image, listed, opacity)
    return Stored(
        image.astype(image.dtype.newbyteorder("="), copy=False),
        layout,
        _bands(page, image.shape[layout.index("C")] if "C" in layout else 1, named),
        opacity,
        place is not None and ASSOCIATED in page.extrasamples,
        states=_states(page, image.dtype),
    )


def _bands(page: "TiffPage", count: int, named: Sequence[str] | None) -> str | tuple[str, ...] | None:
    colour = page.photometric == RGB or (page.photometric == YCBCR and page.compression == JPEG)
    if not colour and page.photometric not in (MINISBLACK, MINISWHITE):
        name = getattr(page.photometric, "name", page.photometric)
        hint = ", inks rather than light" if page.photometric == SEPARATED else ""
        raise ReadError(f"expected gray, RGB, a palette or bands, got a TIFF of {name}{hint}: convert it first")
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
            raise ReadError(f"in this file 0 is white, and {dtype} does not say what is black: save it with 0 as black")
        states = {"range": (2.0 ** int(page.bitspersample) - 1, 0.0)}
    nodata = page.tags.valueof(GDAL_NODATA)
    if nodata is not None:
        value = float(nodata)
        if dtype.kind == "f" or (value.is_integer() and holds(dtype, value)):  # else no pixel has it
            states["nodata"] = value if dtype.kind == "f" else int(value)
    return states


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
    return high.astype(np.uint8) if bool((low == high).all()) or not low.any() else np.ascontiguousarray(listed.T)


def bands_of(listed: NDArray[Any]) -> int:
    """Return how many bands the colours of a palette need."""
    return 1 if flat(listed) else 3


def _through_palette(indices: NDArray[Any], listed: NDArray[Any], opacity: NDArray[Any] | None) -> Stored:
    stored = through_palette(indices, listed)
    if opacity is None:
        return stored
    scale = np.iinfo(listed.dtype).max // np.iinfo(opacity.dtype).max
    return stored._replace(alpha=opacity.astype(listed.dtype) * listed.dtype.type(scale))


def masked(stored: Stored, mask: NDArray[Any]) -> Stored:
    """Return ``stored`` with the mask of another page as its alpha."""
    pixels = stored.image.shape[1:] if stored.layout == "CHW" else stored.image.shape[:2]
    if mask.shape != pixels:
        raise ReadError(f"its mask has shape {mask.shape}, its image {pixels}")
    return stored._replace(alpha=np.where(mask != 0, max(levels(stored)), 0).astype(stored.image.dtype))


def names(tif: "TiffFile", page: "TiffPage") -> list[str] | None:
    """Return the names of the bands, where the file has them: GDAL's descriptions, ImageJ's labels, OME's channels."""
    try:
        if GDAL_METADATA in page.tags:
            items = ET.fromstring(page.tags.valueof(GDAL_METADATA)).iter("Item")
            held = {item.get("sample"): item.text for item in items if item.get("role") == "description"}
            return [held.get(str(number)) or "" for number in range(page.samplesperpixel)]
        if tif.is_imagej:
            return [str(label) for label in (tif.imagej_metadata or {}).get("Labels", [])]
        if tif.is_ome:
            parts = ET.fromstring(tif.ome_metadata or "").iter()
            image = next(part for part in parts if part.tag.endswith("}Image"))
            return [part.get("Name") or "" for part in image.iter() if part.tag.endswith("}Channel")]
    except (ET.ParseError, StopIteration):
        return None
    return None
