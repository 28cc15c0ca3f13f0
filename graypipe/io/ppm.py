"""PPM: the levels that a file has, whatever the greatest of them, where Pillow would scale them to 255 or 65535."""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ReadError
from .decoded import Stored

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

BITS = {"1": 1, "L": 8, "I": 16, "RGB": 24, "F": 32}
"""Bits a pixel takes in the file, by Pillow's mode."""


def most(image: "ImageFile") -> int | None:
    """Return the greatest level of a file whose levels Pillow would scale, else None."""
    decoder, _, _, arguments = image.tile[0]
    return (
        int(arguments[-1])
        if decoder == "ppm" and isinstance(arguments, tuple)
        else None
    )


def dtype(image: "ImageFile") -> np.dtype[Any]:
    """Return the dtype that holds the levels of such a file."""
    return np.dtype(np.uint16 if (most(image) or 0) > 255 else np.uint8)


def check(image: "ImageFile", size: int) -> None:
    """Raise ReadError where Pillow would scale plain text, or the file, of ``size`` bytes, is not one image long."""
    if image.mode not in BITS:
        raise ReadError(
            f"expected gray or RGB, got a PPM of mode {image.mode!r}: convert it first"
        )
    decoder, _, start, arguments = image.tile[0]
    if decoder != "ppm_plain":
        row = (
            (image.width * BITS[image.mode] + 7) // 8
            if decoder == "raw"
            else prod(_shape(image)[1:])
        )
        expected = start + row * image.height * (
            1 if decoder == "raw" else dtype(image).itemsize
        )
        if size != expected:
            raise ReadError(
                f"its header promises {expected} bytes, got {size}: damaged, or more than one image"
            )
    elif isinstance(arguments, tuple) and arguments[-1] != (
        65535 if image.mode == "I" else 255
    ):
        raise ReadError(
            f"plain text with a greatest level of {arguments[-1]}, which Pillow would scale: write it binary (P5, P6)"
        )


def levels(image: "ImageFile", data: bytes) -> Stored:
    """Return the levels of a binary file, unscaled, and what its greatest level says of the range."""
    high, shape = most(image) or 0, _shape(image)
    stored = np.frombuffer(
        data, dtype(image).newbyteorder(">"), prod(shape), image.tile[0].offset
    )
    pixels = stored.reshape(shape).astype(dtype(image))
    if int(pixels.max()) > high:
        raise ReadError(
            f"a pixel has {pixels.max()}, the header says {high} at most: the file is damaged"
        )
    bits = high.bit_length()
    states = {"bits": bits} if high == 2**bits - 1 else {"range": (0.0, float(high))}
    if high == np.iinfo(pixels.dtype).max:
        states = {}
    return Stored(
        pixels, *(("HW", "gray") if len(shape) == 2 else ("HWC", "RGB")), states=states
    )


def _shape(image: "ImageFile") -> tuple[int, ...]:
    return (
        (image.height, image.width, 3)
        if image.mode == "RGB"
        else (image.height, image.width)
    )
