"""Parse the segments and scans of a JPEG stream, and check that it is complete.

A decoder fills in missing data without an error, so the completeness of all scans and
restart intervals is checked here. Markers and headers follow ITU-T T.81, annex B.
"""

import re
import struct
from collections.abc import Iterator
from itertools import product
from math import ceil
from typing import NamedTuple

from ..errors import ReadError

START_OF_IMAGE = b"\xff\xd8"
END_OF_IMAGE = b"\xff\xd9"

# Any number of fill bytes, 0xFF, may precede the 0xFF of a marker.
FILL = b"\xff\xff"

START_OF_SCAN = 0xDA
RESTART_INTERVAL = 0xDD
APP1 = 0xE1  # EXIF and XMP
APP2 = 0xE2  # MPF, the list of images
JPEG_LS_FRAME = 0xF7

# Start of frame, SOF0 to SOF15, except DHT, JPG and DAC, which lie among them.
FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

# The segments that a decoder needs. The only application segments kept are JFIF (APP0)
# and Adobe (APP14), which say how colours are stored.
DECODER_SEGMENTS = {*range(0xC0, 0xE0), 0xE0, 0xEE}

# A scan ends at the first marker other than a restart marker. The bytes FF 00 are not a
# marker, but a stuffed FF.
SCAN_END = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")

RESTART = re.compile(rb"\xff([\xd0-\xd7])")

# A coefficient of a component: (component, number from 0 to 63).
Coefficient = tuple[int, int]


class Segment(NamedTuple):
    """One segment of a stream.

    Parameters
    ----------
    marker : int
        Second byte of the marker.
    offset : int
        Offset of the content in the file.
    content : bytes
        The segment without its marker and length.
    raw : bytes
        The segment with its marker and length.
    scan : bytes or None
        The entropy-coded data after a scan header; None after other segments.
    """

    marker: int
    offset: int
    content: bytes
    raw: bytes
    scan: bytes | None


class FrameHeader(NamedTuple):
    """The frame header, which describes the image.

    Parameters
    ----------
    height, width : int
        Size in pixels.
    components : dict
        Component identifier -> sampling factors, (horizontal, vertical).
    progressive : bool
        Whether scans may contain parts of the coefficients.
    """

    height: int
    width: int
    components: dict[int, tuple[int, int]]
    progressive: bool

    def unit_count(self, scanned: list[int]) -> int:
        """Return the number of coded units in a scan of the given components.

        Parameters
        ----------
        scanned : list of int
            Identifiers of the components.

        Returns
        -------
        int
            For several components, the number of interleaved units (MCU); for one
            component, the number of its blocks of 8 x 8 samples. T.81, section A.2,
            defines both.
        """
        factors = self.components.values()
        largest_horizontal = max(horizontal for horizontal, _ in factors)
        largest_vertical = max(vertical for _, vertical in factors)
        if len(scanned) > 1:
            columns = ceil(self.width / (8 * largest_horizontal))
            rows = ceil(self.height / (8 * largest_vertical))
            return columns * rows
        horizontal, vertical = self.components[scanned[0]]
        component_width = ceil(self.width * horizontal / largest_horizontal)
        component_height = ceil(self.height * vertical / largest_vertical)
        return ceil(component_width / 8) * ceil(component_height / 8)


class JpegStream(NamedTuple):
    """One JPEG stream, reduced to what a decoder needs.

    Parameters
    ----------
    frame : FrameHeader
        Size and components.
    metadata : dict
        First four bytes of an APP1 or APP2 segment -> (offset of its content in the
        file, content). If several segments start alike, the first is used.
    headers : list of bytes
        For each scan, the segments between the previous scan and its data.
    scans : list of bytes
        The entropy-coded data of each scan.
    trailer : bytes
        The segments after the last scan, with the end-of-image marker.
    """

    frame: FrameHeader
    metadata: dict[bytes, tuple[int, bytes]]
    headers: list[bytes]
    scans: list[bytes]
    trailer: bytes

    def to_bytes(self) -> bytes:
        """Return the stream as a file."""
        parts = []
        for header, scan in zip(self.headers, self.scans, strict=True):
            parts += [header, scan]
        return b"".join([*parts, self.trailer])


def parse_stream(data: bytes) -> JpegStream:
    """Parse the first JPEG stream of a file.

    Parameters
    ----------
    data : bytes
        Content of the file. Data after the first stream are ignored.

    Raises
    ------
    ReadError
        If the stream is truncated or damaged, or if scans or restart intervals are
        missing.
    """
    frame: FrameHeader | None = None
    restart_interval = 0
    metadata: dict[bytes, tuple[int, bytes]] = {}
    headers: list[bytes] = []
    scans: list[bytes] = []
    complete: set[Coefficient] = set()
    pending = [START_OF_IMAGE]
    for segment in _segments(data):
        content = segment.content
        if segment.marker in FRAME_HEADERS:
            # SOF2, SOF6, SOF10 and SOF14 are the progressive ones.
            frame = _parse_frame(content, progressive=segment.marker % 4 == 2)
        elif segment.marker == RESTART_INTERVAL:
            (restart_interval,) = struct.unpack(">H", content)
        elif segment.marker in (APP1, APP2):
            metadata.setdefault(content[:4], (segment.offset, content))
        if segment.marker in DECODER_SEGMENTS:
            pending.append(segment.raw)
        if segment.scan is not None:
            if frame is None:
                raise ReadError("a scan precedes the frame header: the file is damaged")
            headers.append(b"".join(pending))
            scans.append(segment.scan)
            pending = []
            complete |= _check_scan(content, segment.scan, frame, restart_interval)
    # Every coefficient of every component must be complete. A truncated progressive
    # file can end with a proper end-of-image marker and still lack its last scans.
    if frame is None or complete != set(product(frame.components, range(64))):
        raise ReadError("some scans are missing: the file is damaged or truncated")
    trailer = b"".join([*pending, END_OF_IMAGE])
    return JpegStream(frame, metadata, headers, scans, trailer)


def _segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments between the start and the end of the first stream."""
    offset = len(START_OF_IMAGE)
    while data[offset : offset + 2] != END_OF_IMAGE:
        if data[offset : offset + 2] == FILL:
            offset += 1
            continue
        marker, content = _parse_segment(data, offset)
        content_start = offset + 4
        end = content_start + len(content)
        raw = data[offset:end]
        scan = None
        offset = end
        if marker == START_OF_SCAN:
            match = SCAN_END.search(data, end)
            if match is None:
                raise ReadError(
                    "the file ends in the middle of its pixels: it is truncated"
                )
            scan = data[end : match.start()]
            # The marker itself, without the fill bytes before it.
            offset = match.end() - 2
        yield Segment(marker, content_start, content, raw, scan)


def _parse_segment(data: bytes, offset: int) -> tuple[int, bytes]:
    """Return (marker, content) of the segment at ``offset``."""
    if len(data) < offset + 4:
        raise ReadError("the file ends before its last segment: it is truncated")
    prefix, marker, length = struct.unpack_from(">BBH", data, offset)
    # The length counts its own two bytes.
    content = data[offset + 4 : offset + 2 + length]
    if prefix != 0xFF or marker < 0xC0 or length < 2 or len(content) != length - 2:
        raise ReadError(
            f"expected a segment of a JPEG stream at byte {offset}: the file is "
            "damaged or truncated"
        )
    if marker == JPEG_LS_FRAME:
        raise ReadError(
            "expected JPEG, got a JPEG-LS stream: decode it with "
            "imagecodecs.jpegls_decode, and declare a gp.Source"
        )
    return marker, content


def _parse_frame(content: bytes, progressive: bool) -> FrameHeader:
    """Return the frame header, or raise ReadError if the image is not 8-bit."""
    depth, height, width, count = struct.unpack_from(">BHHB", content)
    if depth != 8:
        raise ReadError(
            f"expected 8 bits per sample, got {depth}: decode the file with "
            f"imagecodecs.jpeg_decode, and declare gp.Source(..., bits={depth})"
        )
    components: dict[int, tuple[int, int]] = {}
    for number in range(count):
        start = 6 + 3 * number
        identifier, sampling, _ = content[start : start + 3]
        # The sampling factors share a byte, four bits each.
        components[identifier] = (sampling >> 4, sampling & 0x0F)
    has_zero_factor = any(0 in factors for factors in components.values())
    if height == 0 or width == 0 or has_zero_factor:
        raise ReadError("the frame header is damaged")
    return FrameHeader(height, width, components, progressive)


def _check_scan(
    header: bytes, scan: bytes, frame: FrameHeader, restart_interval: int
) -> set[Coefficient]:
    """Check the restart markers of a scan, and return the coefficients it completes.

    A progressive scan contains a band of coefficients, and only the bits of each above
    a given position. A coefficient is complete after the scan with its lowest bit.
    """
    count = header[0]
    scanned = list(header[1 : 1 + 2 * count : 2])
    if restart_interval:
        _check_restarts(scan, frame.unit_count(scanned), restart_interval)
    if not frame.progressive:
        # These three fields have no meaning here, and some encoders write zeros.
        return set(product(scanned, range(64)))
    first, last, approximation = header[1 + 2 * count : 4 + 2 * count]
    lowest_bit = approximation & 0x0F
    if lowest_bit > 0:
        return set()
    return set(product(scanned, range(first, last + 1)))


def _check_restarts(scan: bytes, unit_count: int, restart_interval: int) -> None:
    """Raise ReadError unless a scan has all its restart markers, in order."""
    interval_count = ceil(unit_count / restart_interval)
    # A marker separates two intervals. The numbers of the markers cycle through 0 to 7.
    expected = [0xD0 + number % 8 for number in range(interval_count - 1)]
    markers = [match[0] for match in RESTART.findall(scan)]
    if markers != expected:
        raise ReadError(
            "some restart intervals are missing: the file is damaged or truncated"
        )
