"""A PNG file taken apart and checked: its chunks, their sums, and that the pixels are all there.

Numbers are those of the PNG specification, third edition, sections 5, 8, 9 and 11. Pillow skips the sums of the
pixels, and leaves black what they do not reach.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import ReadError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}

WHOLE = ((0, 0, 1, 1),)
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Where the passes of an image begin, across and down, and their steps."""

Chunk = tuple[bytes, bytes]


class Header(NamedTuple):
    """The chunk IHDR."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool


def chunks(data: bytes) -> list[Chunk]:
    """Return the chunks of a PNG file, (type, content), each checked against its sum, else ReadError."""
    found: list[Chunk] = []
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + length]
        end = at + 8 + length
        if data[end : end + 4] != struct.pack(
            ">I", zlib.crc32(content, zlib.crc32(name))
        ):
            raise ReadError(
                f"its chunk {name!r} at byte {at} is damaged: the checksum differs"
            )
        found.append((name, content))
        if name == b"IEND":
            return found
        at = end + 4
    raise ReadError("the file ends before its last chunk: it is truncated")


def join(found: list[Chunk], kept: Iterable[bytes]) -> bytes:
    """Return a PNG file of the chunks whose type is in ``kept``."""
    parts = [
        struct.pack(">I4s", len(content), name)
        + content
        + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
        for name, content in found
        if name in kept
    ]
    return b"".join([SIGNATURE, *parts])


def first(found: list[Chunk], name: bytes) -> bytes | None:
    """Return the content of the first chunk of that type, None where there is none."""
    return next((content for chunk, content in found if chunk == name), None)


def header(found: list[Chunk]) -> Header:
    """Return the header; ReadError where it contradicts the specification."""
    name, content = found[0]
    if name == b"IHDR" and len(content) == 13:
        width, height, depth, colour, _, _, interlaced = struct.unpack(
            ">IIBBBBB", content
        )
        if (
            width
            and height
            and depth in DEPTHS.get(colour, ())
            and interlaced in (0, 1)
        ):
            return Header(width, height, depth, colour, bool(interlaced))
    raise ReadError("its header is none of a PNG image: the file is damaged")


def count(found: list[Chunk]) -> int:
    """Return how many frames the file holds: those of the animation, and the still image where it is none of them."""
    control = first(found, b"acTL")
    if control is None:
        return 1
    names = [name for name, _ in found]
    frames = names.count(b"fcTL")
    if (
        not frames
        or names.count(b"acTL") != 1
        or control[:4] != struct.pack(">I", frames)
        or b"IDAT" not in names
    ):
        raise ReadError("its animation control is damaged")
    return frames + (names.index(b"IDAT") < names.index(b"fcTL"))


def check_still(found: list[Chunk], held: Header) -> None:
    """Raise ReadError unless the still image has all its pixels."""
    _check_length([content for name, content in found if name == b"IDAT"], held)


def check_frames(found: list[Chunk], held: Header) -> None:
    """Raise ReadError unless the frames of an animation have all their pixels."""
    coded: list[bytes] = []
    frame = held
    for name, content in [*found, (b"fcTL", b"")]:
        if name == b"IDAT":
            coded.append(content)
        elif name == b"fdAT":
            coded.append(content[4:])
        elif name == b"fcTL":
            if coded:
                _check_length(coded, frame)
            if content:
                width, height = struct.unpack(">II", content[4:12])
                frame, coded = held._replace(width=width, height=height), []


def _check_length(coded: list[bytes], held: Header) -> None:
    expected = 0
    for left, top, across, down in ADAM7 if held.interlaced else WHOLE:
        width, height = (
            -(-(held.width - left) // across),
            -(-(held.height - top) // down),
        )
        if width > 0:
            expected += max(0, height) * (
                1 + (width * SAMPLES[held.colour] * held.depth + 7) // 8
            )
    inflate = zlib.decompressobj()
    length = sum(len(inflate.decompress(content)) for content in coded)
    if length < expected or not inflate.eof:
        raise ReadError(
            f"its pixels end early, {length} of {expected} bytes: the file is damaged"
        )
