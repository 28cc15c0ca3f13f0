"""PPM: the levels that a file has must be those that an array can hold."""

from typing import TYPE_CHECKING

from ..errors import ReadError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

BITS = {"1": 1, "L": 8, "I": 16, "RGB": 24, "F": 32}
"""Bits a pixel takes in the file, by Pillow's mode."""


def check(image: "ImageFile", size: int) -> None:
    """Raise ReadError where Pillow would scale the levels, or the file, of ``size`` bytes, is not one image long."""
    if image.mode not in BITS:
        raise ReadError(f"expected gray or RGB, got a PPM of mode {image.mode!r}: convert it first")
    decoder, _, start, arguments = image.tile[0]
    if decoder == "raw":
        expected = start + (image.width * BITS[image.mode] + 7) // 8 * image.height
        if size != expected:
            raise ReadError(f"its header promises {expected} bytes, got {size}: damaged, or more than one image")
    elif image.mode != "1" and arguments != (image.mode, 65535 if image.mode == "I" else 255):
        raise ReadError("its greatest level is neither 255 nor, for gray, 65535, so Pillow would scale the values")
