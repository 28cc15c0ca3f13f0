"""Reading: a file becomes an array and the source that says what its values mean, without losing a bit."""

import os
import warnings
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


def read(path: str | os.PathLike[str], **source: Any) -> tuple[NDArray[Any], Source]:
    """Return (image, source): 8- and 16-bit gray, (H, W), and 8-bit RGB, (H, W, 3), from PNG, JPEG and TIFF files.

    The array is uint8 or uint16, writable, and holds every level of the file. Keywords go into the `Source`
    (``bits=12``, ``bands="B"``) and must fit the file, else ChannelError, DTypeError, LayoutError or RangeError.
    ReadError, naming the file, for a file that is missing, damaged, or of another kind.
    """
    image, bands = _decode(path)
    declared = Source(**{"bands": bands, "dtype": image.dtype, **source})
    declared.pairs(image.dtype)
    expected = 1 if image.ndim == 2 else image.shape[2]
    if len(declared.bands) != expected or declared.layout != ("HW" if image.ndim == 2 else "HWC"):
        raise ReadError(
            f"{path}: the file holds {expected} band{'s'[: expected > 1]} as {'HW' if image.ndim == 2 else 'HWC'}, "
            f"the keywords declare {declared.bands} as {declared.layout}"
        )
    return image, declared


def _decode(path: str | os.PathLike[str]) -> tuple[NDArray[Any], str]:
    from PIL import Image, UnidentifiedImageError  # read files only when a file is read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning of the decoder is about a file it could not read whole
            with Image.open(path, formats=FORMATS) as opened:
                _check(path, opened)
                image = np.array(opened)
                return image.astype(image.dtype.newbyteorder("="), copy=False), MODES[opened.mode]
    except ReadError:
        raise
    except UnidentifiedImageError:
        raise ReadError(f"{path}: expected a whole PNG, JPEG or TIFF image, got something else") from None
    except Exception as error:  # decoders raise many types over damaged files
        raise ReadError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def _check(path: str | os.PathLike[str], image: "Image") -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ReadError(f"{path}: expected one image, got {frames} frames: save the frame that is meant")
    if image.mode not in MODES or _narrowed(image):
        raise ReadError(
            f"{path}: expected 8- or 16-bit gray or 8-bit RGB, got mode {image.mode!r}"
            f"{' cut down from more bits' if image.mode in MODES else ''}: read it with a library that keeps its bits, "
            f"and declare what the array holds in a gp.Source"
        )
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        raise ReadError(f"{path}: EXIF says the image is turned or mirrored: apply the orientation and save it again")


def _narrowed(image: "Image") -> bool:
    """Whether Pillow would hand out fewer bits than the file has, or a transparent colour would be lost."""
    stored = {str(part[3]) for part in getattr(image, "tile", [])}
    deep = any("16" in raw for raw in stored) and not image.mode.startswith("I;16")
    return deep or "transparency" in image.info
