"""A JPEG stream taken apart and checked: its segments, scans and restart intervals.

Markers and headers are those of ITU-T T.81, annex B. A decoder goes on where something is missing, so what can be
counted is counted here: the coefficients that the scans bring, and the restart intervals of each.
"""

import re
import struct
from itertools import product
from math import ceil
from typing import NamedTuple

from ..errors import ReadError

SOI, EOI, FILL = b"\xff\xd8", b"\xff\xd9", b"\xff\xff"
SOS, DRI, APP1, APP2, JPEG_LS = 0xDA, 0xDD, 0xE1, 0xE2, 0xF7
HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
NEEDED = {*range(0xC0, 0xE0), 0xE0, 0xEE}
"""What a decoder needs: of the segments of applications only JFIF and Adobe, which say how colours are stored."""

END = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""What ends a scan: a marker that is neither a stuffed zero nor a restart."""

RESTART = re.compile(rb"\xff([\xd0-\xd7])")

Component = tuple[int, int]


class Frame(NamedTuple):
    """The frame header: sizes, and the sampling of each component (across, down)."""

    height: int
    width: int
    components: dict[int, Component]
    progressive: bool

    def units(self, scanned: list[int]) -> int:
        """Return how many units of coded pixels a scan of these components holds (T.81, A.2)."""
        most = [
            max(sampling[axis] for sampling in self.components.values())
            for axis in (0, 1)
        ]
        if len(scanned) > 1:
            return ceil(self.width / (8 * most[0])) * ceil(self.height / (8 * most[1]))
        across, down = self.components[scanned[0]]
        return ceil(ceil(self.width * across / most[0]) / 8) * ceil(
            ceil(self.height * down / most[1]) / 8
        )


class Stream(NamedTuple):
    """One JPEG stream; ``parts`` are for the decoder, the coded pixels of a scan at odd places."""

    frame: Frame
    metadata: dict[bytes, tuple[int, bytes]]
    parts: list[bytes]


def walk(data: bytes) -> Stream:
    """Return the first JPEG stream in ``data``; ReadError where it is cut, damaged or lacks a part."""
    frame, interval, at = None, 0, 2
    metadata: dict[bytes, tuple[int, bytes]] = {}
    parts, kept, brought = list[bytes](), [SOI], set[Component]()
    while data[at : at + 2] != EOI:
        if data[at : at + 2] == FILL:
            at += 1
            continue
        marker, content = _segment(data, at)
        if marker in HEADERS:
            frame = _frame(content, progressive=marker % 4 == 2)
        elif marker == DRI:
            (interval,) = struct.unpack(">H", content)
        elif marker in (APP1, APP2):
            metadata.setdefault(content[:4], (at + 4, content))
        if marker in NEEDED:
            kept.append(data[at : at + 4 + len(content)])
        at += 4 + len(content)
        if marker == SOS:
            end = END.search(data, at)
            if end is None or frame is None:
                raise ReadError(
                    "the file ends in the middle of its pixels: it is truncated"
                )
            parts += [b"".join(kept), data[at : end.start()]]
            brought |= _scan(content, parts[-1], frame, interval)
            kept, at = [], end.end() - 2
    if frame is None or brought != set(product(frame.components, range(64))):
        raise ReadError(
            "some of its scans are missing: the file is damaged or truncated"
        )
    return Stream(frame, metadata, [*parts, b"".join([*kept, EOI])])


def _segment(data: bytes, at: int) -> tuple[int, bytes]:
    """Return (marker, content) of the segment at ``at``."""
    if len(data) < at + 4:
        raise ReadError("the file ends before its last segment: it is truncated")
    start, marker, length = struct.unpack_from(">BBH", data, at)
    content = data[at + 4 : at + 2 + length]
    if start != 0xFF or marker < 0xC0 or length < 2 or len(content) != length - 2:
        raise ReadError(
            f"byte {at} begins no segment of a JPEG stream: the file is damaged or truncated"
        )
    if marker == JPEG_LS:
        raise ReadError(
            "a JPEG-LS stream: decode it with imagecodecs.jpegls_decode, and declare a gp.Source"
        )
    return marker, content


def _frame(content: bytes, progressive: bool) -> Frame:
    depth, height, width, count = struct.unpack_from(">BHHB", content)
    if depth != 8:
        raise ReadError(
            f"expected 8 bits a sample, got {depth}: decode it with imagecodecs.jpeg_decode, and declare "
            f"gp.Source(..., bits={depth})"
        )
    listed = [content[at : at + 3] for at in range(6, 6 + 3 * count, 3)]
    components = {name: (sampling >> 4, sampling & 15) for name, sampling, _ in listed}
    if (
        not height
        or not width
        or not all(all(sampling) for sampling in components.values())
    ):
        raise ReadError("its frame header is damaged")
    return Frame(height, width, components, progressive)


def _scan(header: bytes, coded: bytes, frame: Frame, interval: int) -> set[Component]:
    """Return the coefficients, (component, number), that a scan brings to the last bit; check its restarts."""
    count = header[0]
    scanned = list(header[1 : 1 + 2 * count : 2])
    first, last, bits = (
        header[1 + 2 * count : 4 + 2 * count] if frame.progressive else (0, 63, 0)
    )
    if interval:
        expected = [
            0xD0 + number % 8
            for number in range(-(-frame.units(scanned) // interval) - 1)
        ]
        if [marker[0] for marker in RESTART.findall(coded)] != expected:
            raise ReadError(
                "parts of its pixels are missing: the file is damaged or truncated"
            )
    return set(product(scanned, range(first, last + 1))) if bits & 15 == 0 else set()
