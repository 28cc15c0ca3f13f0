"""Orientation: where EXIF and XMP say it, and how it is applied."""

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError

ORIENTATION = 0x0112
"""The tag in EXIF 2.32, table 4, and in TIFF 6.0, section 8."""

POLICIES = ("error", "apply", "ignore")

XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*(\d+)")


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int | None:
    """Return the orientation, 1 to 8, that a block of EXIF states, else one of XMP; 1 where neither does.

    None where the block is damaged, or states another. Read here, since Pillow answers such a block with a warning.
    """
    try:
        found = tag(exif.removeprefix(b"Exif\0\0"), ORIENTATION) if exif else None
    except (LookupError, struct.error):
        return None
    match = XMP.search(xmp) if xmp and found is None else None
    return known(int(match[1]) if match else found or 1)


def known(value: int) -> int | None:
    """Return an orientation from 1 to 8, where 0 stands for none stated; None for another."""
    return (value or 1) if 0 <= value <= 8 else None


def tag(block: bytes, number: int) -> int | None:
    """Return the first value of a tag in the first directory of a TIFF structure, None where it is not there.

    LookupError or struct.error where the structure is damaged.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}[block[:4]]
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        name, kind = struct.unpack_from(order + "HH", block, entry)
        if name == number:
            return int(
                struct.unpack_from(
                    order + {1: "B", 3: "H", 4: "I", 7: "I"}[kind], block, entry + 8
                )[0]
            )
    return None


def turn(image: NDArray[Any], layout: str, value: int) -> NDArray[Any]:
    """Return ``image`` upright: what EXIF calls ``value`` undone, as a fresh array."""
    pixels = [layout.index("H"), layout.index("W")]
    if value >= 5:
        image = image.swapaxes(*pixels)
    flipped = tuple(
        axis
        for axis, turned in zip(pixels, ((3, 4, 7, 8), (2, 3, 6, 7)), strict=True)
        if value in turned
    )
    return np.ascontiguousarray(np.flip(image, flipped))


def settle(
    image: NDArray[Any], layout: str, value: int | None, policy: str
) -> NDArray[Any]:
    """Return ``image`` under the policy for an orientation of ``value``, None where what states it is damaged."""
    if value == 1 or policy == "ignore":
        return image
    if value is None:
        raise ReadError(
            "its EXIF block, which says how the image is turned, is damaged: orientation='ignore' reads on"
        )
    if policy == "apply":
        return turn(image, layout, value)
    raise ReadError(
        f"the file says that the stored image is turned or mirrored (orientation {value}): orientation='apply' undoes "
        f"that, orientation='ignore' keeps the stored pixels where they are"
    )
