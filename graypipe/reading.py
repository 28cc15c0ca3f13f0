"""Reading: a file becomes an array and the source that says what its values mean, without losing a bit."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ReadError
from .sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "TIFF")

MODES = {"L": "gray", "I;16": "gray", "I;16L": "gray", "I;16B": "gray", "RGB": "RGB"}
"""Pillow's modes that keep every level of the file, and their bands."""

EXIF_ORIENTATION = 0x0112

TAGS = {258: "bits per sample", 277: "samples per pixel", 339: "sample format"}
COMPRESSION, PHOTOMETRIC, PREDICTOR = 259, 262, 317
"""TIFF 6.0, section 8; the predictor in section 14, the sample format in section 19."""

PACKBITS = 32773

BOMB = (
    "the image is larger than Pillow's guard against decompression bombs allows: where the file is trusted, raise "
    "PIL.Image.MAX_IMAGE_PIXELS or set it to None"
)


def read(path: str | os.PathLike[str], **source: Any) -> tuple[NDArray[Any], Source]:
    """Return (image, source): 8- and 16-bit gray, (H, W), and 8-bit RGB, (H, W, 3), from PNG, JPEG and TIFF files.

    The array is uint8 or uint16, writable, and holds every level of the file. Keywords go into the `Source`
    (``bits=12``, ``bands="B"``) and must fit the file, else ChannelError, DTypeError, LayoutError or RangeError.
    ReadError, naming the file, for a file that is missing, damaged, or of another kind.
    """
    image, bands = _decode(path)
    declared = Source(**{"bands": bands, "dtype": image.dtype, **source})
    declared.pairs(image.dtype)
    if set(declared.bands) == set(bands) and "".join(declared.bands) != bands and bands != "gray":
        raise ReadError(
            f"{path}: the file holds {bands!r} in this order, the keywords declare {declared.bands}: declare what is "
            f"there, a plan puts bands into another order"
        )
    count, layout = (1, "HW") if image.ndim == 2 else (image.shape[2], "HWC")
    if (len(declared.bands), declared.layout) != (count, layout):
        raise ReadError(
            f"{path}: the file holds {count} band{'s'[: count > 1]} as {layout}, "
            f"the keywords declare {declared.bands} as {declared.layout}"
        )
    return image, declared


def _decode(path: str | os.PathLike[str]) -> tuple[NDArray[Any], str]:
    from PIL import Image, UnidentifiedImageError  # read files only when a file is read

    try:
        with Image.open(path, formats=FORMATS) as opened:
            _check(path, opened, Image.MAX_IMAGE_PIXELS)
            image = np.array(opened)
            return image.astype(image.dtype.newbyteorder("="), copy=False), MODES[opened.mode]
    except ReadError:
        raise
    except UnidentifiedImageError:
        raise ReadError(f"{path}: expected a whole PNG, JPEG or TIFF image, got something else") from None
    except Image.DecompressionBombError:
        raise ReadError(f"{path}: {BOMB}") from None
    except Exception as error:  # decoders raise many types over damaged files
        raise ReadError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def _check(path: str | os.PathLike[str], image: "Image", most: int | None) -> None:
    if most is not None and image.width * image.height > most:
        raise ReadError(f"{path}: {BOMB}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ReadError(f"{path}: expected one image, got {frames} frames: save the frame that is meant")
    odd = f"mode {image.mode!r}" if image.mode not in MODES else _odd(image)
    if odd:
        raise ReadError(
            f"{path}: expected 8- or 16-bit gray or 8-bit RGB, got {odd}: read it with a library that keeps its bits, "
            f"and declare what the array holds in a gp.Source"
        )
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        raise ReadError(f"{path}: EXIF says the image is turned or mirrored: apply the orientation and save it again")


def _odd(image: "Image") -> str | None:
    """Return what Pillow would cut, drop or misread in a file of a mode that is taken, or None."""
    if any("16" in str(part[3]) for part in getattr(image, "tile", [])) and not image.mode.startswith("I;16"):
        return f"mode {image.mode!r} cut down from more bits"
    if "transparency" in image.info:
        return "a transparent colour"
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    depth = 16 if image.mode.startswith("I;16") else 8
    expected = {258: {depth}, 277: {len(image.getbands())}, 339: {1}}
    held = {tag: _values(tags.get(tag, 1)) for tag in expected}
    wrong = [f"{name} {sorted(held[tag])}" for tag, name in TAGS.items() if held[tag] != expected[tag]]
    if depth == 16 and tags.get(PHOTOMETRIC, 1) == 0:
        wrong.append("16 bits in which 0 is white")
    if tags.get(COMPRESSION) == PACKBITS and tags.get(PREDICTOR, 1) != 1:
        wrong.append("a predictor that Pillow ignores")
    return ", ".join(wrong) or None


def _values(tag: Any) -> set[Any]:
    return set(tag) if isinstance(tag, tuple) else {tag}
