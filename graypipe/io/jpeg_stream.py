"""Parse the segments of a JPEG or JPEG-LS stream, and check that no scan is missing.

A decoder notices data that are missing within a scan, but not a scan that is missing as
a whole. Markers and headers follow ITU-T T.81, annex B, and for JPEG-LS T.87, annex C.
"""

import struct
from itertools import product
from math import ceil
from typing import NamedTuple

import numpy as np

from ..errors import ReadError

START_OF_IMAGE = b"\xff\xd8"
END_OF_IMAGE = b"\xff\xd9"

# Any number of fill bytes, 0xFF, may precede the 0xFF of a marker.
FILL = b"\xff\xff"

START_OF_SCAN = 0xDA
RESTART_INTERVAL = 0xDD
APP1 = 0xE1  # EXIF and XMP
APP2 = 0xE2  # MPF, the list of images
APP8 = 0xE8  # SPIFF, the colour space of a JPEG-LS stream

# Start of frame: SOF0 to SOF15, without DHT, JPG and DAC, whose numbers are among
# theirs; and SOF55 of JPEG-LS.
SEQUENTIAL_DCT = {0xC0, 0xC1}
PROGRESSIVE_DCT = 0xC2
LOSSLESS = 0xC3
JPEG_LS = 0xF7
FRAME_HEADERS = ({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {JPEG_LS}

# The segments that a decoder needs. The only application segments kept are JFIF (APP0)
# and Adobe (APP14), which say how the colours of a JPEG are stored, and APP8, which
# does so for JPEG-LS. The others are not needed, and simplejpeg refuses a file for
# damage in one of them, the colour profile. LSE (0xF8) holds parameters of JPEG-LS.
DECODER_SEGMENTS = {*range(0xC0, 0xE0), 0xE0, APP8, 0xEE, JPEG_LS, 0xF8}

# The last three fields of the scan header of a sequential frame: all coefficients of a
# block, and all their bits.
ALL_COEFFICIENTS = bytes([0, 63, 0])

# Number of bytes searched at once for the end of a scan. A search to the end of the
# file would be repeated for each of its scans.
SEARCH_SIZE = 1 << 16

# A coefficient of a component: (component, number from 0 to 63).
Coefficient = tuple[int, int]


class Segment(NamedTuple):
    """One segment of a stream.

    Parameters
    ----------
    marker : int
        Second byte of the marker.
    start, end : int
        Offsets in the file of the content, and of the first byte after the segment.
    content : bytes
        The segment without its marker and length.
    """

    marker: int
    start: int
    end: int
    content: bytes


class FrameHeader(NamedTuple):
    """The frame header, which describes the image.

    Parameters
    ----------
    marker : int
        Second byte of the marker, which tells the coding process.
    bits : int
        Bits per sample.
    height, width : int
        Size in pixels.
    components : dict
        Component identifier -> sampling factors, (horizontal, vertical).
    """

    marker: int
    bits: int
    height: int
    width: int
    components: dict[int, tuple[int, int]]

    @property
    def is_8_bit_dct(self) -> bool:
        """Whether this is the ordinary kind of JPEG, which simplejpeg decodes."""
        is_dct = self.marker in SEQUENTIAL_DCT or self.marker == PROGRESSIVE_DCT
        return is_dct and self.bits == 8

    def is_complete_after(self, scanned: list[int]) -> bool:
        """Whether one scan of these components is all that simplejpeg needs."""
        is_sequential = self.marker in SEQUENTIAL_DCT
        has_all_components = set(scanned) == set(self.components)
        return self.is_8_bit_dct and is_sequential and has_all_components

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
            component, the number of its data units: blocks of 8 x 8 samples, or single
            samples if the coding is lossless. T.81, section A.2, defines them.
        """
        unit_size = 1 if self.marker == LOSSLESS else 8
        factors = self.components.values()
        largest_horizontal = max(horizontal for horizontal, _ in factors)
        largest_vertical = max(vertical for _, vertical in factors)
        if len(scanned) > 1:
            columns = ceil(self.width / (unit_size * largest_horizontal))
            rows = ceil(self.height / (unit_size * largest_vertical))
            return columns * rows
        horizontal, vertical = self.components[scanned[0]]
        component_width = ceil(self.width * horizontal / largest_horizontal)
        component_height = ceil(self.height * vertical / largest_vertical)
        return ceil(component_width / unit_size) * ceil(component_height / unit_size)


class Scan(NamedTuple):
    """One scan of a stream.

    Parameters
    ----------
    headers : bytes
        The segments that a decoder needs, from the previous scan to the header of this
        one.
    header : bytes
        Content of the scan header.
    restart_interval : int
        Number of coded units between two restart markers; 0 if there are none.
    entropy_coded : memoryview
        The data after the scan header.
    """

    headers: bytes
    header: bytes
    restart_interval: int
    entropy_coded: memoryview

    @property
    def components(self) -> list[int]:
        """Identifiers of the components in the scan."""
        count = self.header[0]
        return list(self.header[1 : 1 + 2 * count : 2])


class JpegStream(NamedTuple):
    """One JPEG stream, reduced to what a decoder needs.

    Parameters
    ----------
    frame : FrameHeader
        Size and components.
    metadata : dict
        First four bytes of an APP1, APP2 or APP8 segment -> (offset of its content in
        the file, content). If several segments start alike, the first is used.
    scans : list of Scan
        In the order of the file.
    trailer : bytes
        The end-of-image marker; empty if the data of the last scan extend to the end of
        the file, so that they contain it.
    """

    frame: FrameHeader
    metadata: dict[bytes, tuple[int, bytes]]
    scans: list[Scan]
    trailer: bytes

    def to_bytes(self) -> bytes:
        """Return the stream as a file."""
        parts: list[bytes | memoryview] = [START_OF_IMAGE]
        for scan in self.scans:
            parts += [scan.headers, scan.entropy_coded]
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
        If the stream is truncated or damaged, or if scans are missing.
    """
    try:
        return _parse_stream(data)
    except (struct.error, IndexError, ValueError):
        raise ReadError(
            "a header of the JPEG stream is too short for its fields: the file is "
            "damaged"
        ) from None


def _parse_stream(data: bytes) -> JpegStream:
    """Parse the first JPEG stream of a file; headers may be too short."""
    frame: FrameHeader | None = None
    restart_interval = 0
    metadata: dict[bytes, tuple[int, bytes]] = {}
    headers: list[bytes] = []
    scans: list[Scan] = []
    complete: set[Coefficient] = set()
    offset = len(START_OF_IMAGE)
    while (segment := _parse_segment(data, offset)) is not None:
        offset = segment.end
        content = segment.content
        if segment.marker in FRAME_HEADERS:
            frame = _parse_frame(segment.marker, content)
        elif segment.marker == RESTART_INTERVAL:
            # Two bytes; three or four are possible in JPEG-LS.
            restart_interval = int.from_bytes(content, "big")
        elif segment.marker in (APP1, APP2, APP8):
            metadata.setdefault(content[:4], (segment.start, content))
        if segment.marker in DECODER_SEGMENTS:
            headers.append(_raw_segment(segment, frame))
        if segment.marker != START_OF_SCAN:
            continue
        if frame is None:
            raise ReadError("a scan precedes the frame header: the file is damaged")
        rest = memoryview(data)[offset:]
        scan = Scan(b"".join(headers), content, restart_interval, rest)
        if not scans and frame.is_complete_after(scan.components):
            # The usual file: simplejpeg checks everything after this header.
            return JpegStream(frame, metadata, [scan], trailer=b"")
        end = _find_scan_end(data, offset)
        scans.append(scan._replace(entropy_coded=rest[: end - offset]))
        complete |= _completed_coefficients(scan, frame)
        headers = []
        offset = end
    # Every coefficient of every component must be complete. A truncated progressive
    # file can end with a proper end-of-image marker and still lack its last scans.
    if frame is None or complete != set(product(frame.components, range(64))):
        raise ReadError("some scans are missing: the file is damaged or truncated")
    return JpegStream(frame, metadata, scans, trailer=END_OF_IMAGE)


def _parse_segment(data: bytes, offset: int) -> Segment | None:
    """Return the segment at ``offset``, or None at the end of the image."""
    while data.startswith(FILL, offset):
        offset += 1
    if data.startswith(END_OF_IMAGE, offset):
        return None
    if len(data) < offset + 4:
        raise ReadError("the file ends before its last segment: it is truncated")
    prefix, marker, length = struct.unpack_from(">BBH", data, offset)
    # The length counts its own two bytes.
    end = offset + 2 + length
    if prefix != 0xFF or marker < 0xC0 or length < 2 or end > len(data):
        raise ReadError(
            f"expected a segment of a JPEG stream at byte {offset}: the file is "
            "damaged or truncated"
        )
    return Segment(marker, offset + 4, end, data[offset + 4 : end])


def _raw_segment(segment: Segment, frame: FrameHeader | None) -> bytes:
    """Return a segment with its marker and length, as a decoder needs it."""
    content = segment.content
    is_sequential = frame is not None and frame.marker in SEQUENTIAL_DCT
    if segment.marker == START_OF_SCAN and is_sequential:
        # These fields have no meaning here. Some encoders write zeros, which simplejpeg
        # would refuse.
        content = content[:-3] + ALL_COEFFICIENTS
    return struct.pack(">BBH", 0xFF, segment.marker, len(content) + 2) + content


def _find_scan_end(data: bytes, offset: int) -> int:
    """Return the offset of the first marker after ``offset`` that ends a scan."""
    while offset < len(data) - 1:
        size = min(SEARCH_SIZE, len(data) - offset)
        stored = np.frombuffer(data, np.uint8, size, offset)
        positions = np.flatnonzero(stored[:-1] == 0xFF)
        markers = stored[positions + 1]
        # A data byte 0xFF is followed by 0 in a JPEG, and by a byte below 0x80 in
        # JPEG-LS. Restart markers, 0xD0 to 0xD7, are within a scan.
        ends_scan = (markers >= 0x80) & (markers != 0xFF) & (markers & 0xF8 != 0xD0)
        positions = positions[ends_scan]
        if len(positions) > 0:
            return offset + int(positions[0])
        # The last byte may be the first of a marker.
        offset += size - 1
    raise ReadError("the file ends in the middle of its pixels: it is truncated")


def _parse_frame(marker: int, content: bytes) -> FrameHeader:
    """Return the frame header, or raise ReadError if it is invalid."""
    bits, height, width, count = struct.unpack_from(">BHHB", content)
    components: dict[int, tuple[int, int]] = {}
    for identifier, sampling, _ in struct.iter_unpack(
        "BBB", content[6 : 6 + 3 * count]
    ):
        # The sampling factors share a byte, four bits each.
        components[identifier] = (sampling >> 4, sampling & 0x0F)
    has_zero_factor = any(0 in factors for factors in components.values())
    if height == 0 or width == 0 or has_zero_factor or len(components) != count:
        raise ReadError(
            f"the frame header is damaged: it declares {height} x {width} pixels of "
            f"{count} components"
        )
    return FrameHeader(marker, bits, height, width, components)


def _completed_coefficients(scan: Scan, frame: FrameHeader) -> set[Coefficient]:
    """Return the coefficients that are complete after a scan.

    A progressive scan contains a band of coefficients, and only the bits of each above
    a given position. A coefficient is complete after the scan with its lowest bit.
    """
    if frame.marker != PROGRESSIVE_DCT:
        # The three fields below differ in meaning, and some encoders write zeros.
        return set(product(scan.components, range(64)))
    first, last, approximation = scan.header[1 + 2 * len(scan.components) :][:3]
    lowest_bit = approximation & 0x0F
    if lowest_bit > 0:
        return set()
    return set(product(scan.components, range(first, last + 1)))
