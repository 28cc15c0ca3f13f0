"""JPEG, decoded by Pillow from what a decoder needs and nothing else; several images in one file are its frames.

The list of images (MPF) is that of CIPA DC-007.
"""

import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from . import exif
from .decoded import Stored, check_size, choose
from .jpeg_stream import SOI, Stream, walk

IMAGES, ENTRIES = 0xB001, 0xB002
"""Tags of MPF: how many images there are, and 16 bytes on each, with its size at 4 and its place at 8."""

GAPS = re.compile(rb"(?=\xff[\xd0-\xd7])|\Z")
"""Where coded pixels end: before a restart, and at the end of a scan."""

PADDING = b"\x55" * 64
"""Coded pixels that nobody needs."""


def facts(path: Path) -> dict[str, Any]:
    """Return what the file is, from its headers."""
    stream = walk(path.read_bytes())
    samples = len(stream.frame.components)
    return {
        "format": "JPEG",
        "mode": {1: "L", 3: "RGB", 4: "CMYK"}.get(samples, f"{samples} samples"),
        "width": stream.frame.width,
        "height": stream.frame.height,
        "frames": len(_images(stream)),
        "bands": samples,
        "dtype": "uint8",
        "alpha": False,
        "orientation": _orientation(stream),
    }


def decode(path: Path, frame: object) -> Stored:
    """Return image ``frame`` of a JPEG file: gray (H, W) or RGB (H, W, 3), uint8."""
    return _decode(path.read_bytes(), frame)


def _decode(data: bytes, frame: object) -> Stored:
    stream = walk(data)
    if frame != 0 or isinstance(frame, bool):
        images = _images(stream)
        chosen = choose(frame, len(images))
        if chosen:
            return _decode(_part(data, *images[chosen]), 0)
    samples = len(stream.frame.components)
    if samples not in (1, 3):
        raise ReadError(
            f"expected gray or RGB, got {samples} samples a pixel, as of printing inks (CMYK): what colours they make "
            f"is a matter of a profile, so convert the file first"
        )
    check_size(stream.frame.width * stream.frame.height * samples, len(data))
    image = _pixels(b"".join(stream.parts))
    _check_complete(image, stream.parts)
    layout, bands = ("HW", "gray") if image.ndim == 2 else ("HWC", "RGB")
    return Stored(image, layout, bands, orientation=_orientation(stream))


def _pixels(data: bytes) -> NDArray[Any]:
    from PIL.JpegImagePlugin import JpegImageFile

    with JpegImageFile(BytesIO(data)) as image:
        return np.array(image)


def _check_complete(image: NDArray[Any], parts: list[bytes]) -> None:
    """Raise ReadError where coded pixels end too early, which the decoder fills with gray and keeps to itself.

    Then more of them behind the last show in the image, and else they do not: so the image is decoded twice.
    """
    padded = [
        GAPS.sub(PADDING, part) if place % 2 else part
        for place, part in enumerate(parts)
    ]
    if not np.array_equal(image, _pixels(b"".join(padded))):
        raise ReadError(
            "its pixels end before the image does: the file is damaged or truncated"
        )


def _orientation(stream: Stream) -> int | None:
    (_, block), (_, xmp) = (
        stream.metadata.get(name, (0, b"")) for name in (b"Exif", b"http")
    )
    return exif.orientation(block, xmp)


def _images(stream: Stream) -> list[tuple[int, int]]:
    """Return (place, size) of every image in the file, (0, 0) for the first."""
    start, block = stream.metadata.get(b"MPF\0", (0, b""))
    if not block:
        return [(0, 0)]
    try:
        count, at = exif.tag(block[4:], IMAGES) or 0, exif.tag(block[4:], ENTRIES) or 0
        order = "<" if block[4:6] == b"II" else ">"
        entries = struct.iter_unpack(
            order + "4xII4x", block[4 + at : 4 + at + 16 * count]
        )
        listed = [(start + 4 + place, size) for size, place in entries]
    except (LookupError, struct.error):
        listed = []
    if not listed or len(listed) != count:
        raise ReadError("its list of images is damaged: frame=0 reads the first")
    return [(0, 0), *listed[1:]]


def _part(data: bytes, start: int, size: int) -> bytes:
    if data[start : start + 2] != SOI:
        raise ReadError(
            f"byte {start} begins no further JPEG stream: the list of images is damaged"
        )
    return data[start : start + size]
