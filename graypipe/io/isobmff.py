"""The boxes of JPEG 2000 and JPEG XL files (ISO/IEC 15444-1, section I.4)."""

import struct
from collections.abc import Iterator

from ..errors import ReadError

# A box starts with its length and its type, four bytes each; long ones have a second
# length, of eight bytes.
HEADER_SIZE = 8
LONG_HEADER_SIZE = 16


def iterate_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box.

    Raises
    ------
    ReadError
        If a box does not end within ``data``.
    """
    offset = 0
    while offset < len(data):
        remaining = len(data) - offset
        header_size = HEADER_SIZE
        # Without a complete header, the box is refused as too short.
        length = remaining
        box_type = b""
        if remaining >= HEADER_SIZE:
            length, box_type = struct.unpack_from(">I4s", data, offset)
        if length == 0:
            # The last box may extend to the end of the file.
            length = remaining
        elif length == 1 and remaining >= LONG_HEADER_SIZE:
            (length,) = struct.unpack_from(">Q", data, offset + HEADER_SIZE)
            header_size = LONG_HEADER_SIZE
        if not header_size <= length <= remaining:
            raise ReadError(
                f"box {box_type!r} should have {length} bytes, but the file has "
                f"{remaining} left: it is truncated or damaged"
            )
        yield box_type, data[offset + header_size : offset + length]
        offset += length
