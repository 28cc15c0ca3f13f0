"""Parse the chunks of a PNG file, and check that it is complete.

Pillow neither checks the CRC of the pixel data nor reports missing rows; it leaves them
black. Constants follow the PNG specification, third edition, sections 5, 8, 9 and 11.
"""

import struct
import zlib
from collections.abc import Collection
from typing import NamedTuple

from ..errors import ReadError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Colour types.
GRAY = 0
RGB = 2
PALETTE = 3
GRAY_ALPHA = 4
RGB_ALPHA = 6

SAMPLES_PER_PIXEL = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}

# The bit depths that each colour type allows.
BIT_DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}


class Pass(NamedTuple):
    """The pixels of one pass of an interlaced image: first column, row and steps."""

    left: int
    top: int
    column_step: int
    row_step: int


NOT_INTERLACED: tuple[Pass, ...] = (Pass(0, 0, 1, 1),)
ADAM7: tuple[Pass, ...] = (
    Pass(0, 0, 8, 8),
    Pass(4, 0, 8, 8),
    Pass(0, 4, 4, 8),
    Pass(2, 0, 4, 4),
    Pass(0, 2, 2, 4),
    Pass(1, 0, 2, 2),
    Pass(0, 1, 1, 2),
)

# Each chunk stores the length of its content, its type and its CRC, four bytes each.
CHUNK_OVERHEAD = 12

# Each row is preceded by a byte with the number of its filter.
FILTER_BYTES = 1


class Chunk(NamedTuple):
    """One chunk of a file: its type, such as b"IDAT", and its content."""

    type: bytes
    content: bytes


class Header(NamedTuple):
    """The fields of the IHDR chunk."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool


def parse_chunks(data: bytes) -> list[Chunk]:
    """Return all chunks of a PNG file.

    Raises
    ------
    ReadError
        If a CRC differs, or the file ends before the IEND chunk.
    """
    chunks: list[Chunk] = []
    offset = len(SIGNATURE)
    while offset + CHUNK_OVERHEAD <= len(data):
        length, chunk_type = struct.unpack_from(">I4s", data, offset)
        content_end = offset + 8 + length
        chunk = Chunk(chunk_type, data[offset + 8 : content_end])
        if data[content_end : content_end + 4] != _crc(chunk):
            raise ReadError(
                f"chunk {chunk_type!r} at byte {offset} is damaged: the checksum "
                "differs"
            )
        chunks.append(chunk)
        if chunk_type == b"IEND":
            return chunks
        offset = content_end + 4
    raise ReadError("the file ends before its last chunk: it is truncated")


def _crc(chunk: Chunk) -> bytes:
    """Return the CRC of a chunk, as a file stores it."""
    return struct.pack(">I", zlib.crc32(chunk.content, zlib.crc32(chunk.type)))


def join_chunks(chunks: list[Chunk], types: Collection[bytes]) -> bytes:
    """Return a PNG file with the chunks whose type is in ``types``."""
    parts = [SIGNATURE]
    for chunk in chunks:
        if chunk.type in types:
            parts.append(struct.pack(">I4s", len(chunk.content), chunk.type))
            parts.append(chunk.content)
            parts.append(_crc(chunk))
    return b"".join(parts)


def find_content(chunks: list[Chunk], chunk_type: bytes) -> bytes | None:
    """Return the content of the first chunk of a type, or None if there is none."""
    for chunk in chunks:
        if chunk.type == chunk_type:
            return chunk.content
    return None


def parse_header(chunks: list[Chunk]) -> Header:
    """Return the header, or raise ReadError if it contradicts the specification."""
    chunk_type, content = chunks[0]
    if chunk_type == b"IHDR" and len(content) == 13:
        fields = struct.unpack(">IIBBBBB", content)
        width, height, bit_depth, colour_type, _, _, interlace_method = fields
        if (
            width > 0
            and height > 0
            and bit_depth in BIT_DEPTHS.get(colour_type, ())
            and interlace_method in (0, 1)
        ):
            return Header(width, height, bit_depth, colour_type, interlace_method == 1)
    raise ReadError("the IHDR chunk is missing or invalid: the file is damaged")


def count_frames(chunks: list[Chunk]) -> int:
    """Return the number of frames.

    These are the frames of the animation, plus 1 if the default image is not part of
    the animation.

    Raises
    ------
    ReadError
        If the declared number of frames is wrong.
    """
    animation_control = find_content(chunks, b"acTL")
    if animation_control is None:
        return 1
    types = [chunk.type for chunk in chunks]
    frame_count = types.count(b"fcTL")
    if (
        frame_count == 0
        or types.count(b"acTL") != 1
        or animation_control[:4] != struct.pack(">I", frame_count)
        or b"IDAT" not in types
    ):
        raise ReadError("the acTL chunk (animation control) is damaged")
    if types.index(b"IDAT") < types.index(b"fcTL"):
        # The default image has no fcTL chunk (frame control), so it is not a frame of
        # the animation.
        return frame_count + 1
    return frame_count


def check_still_is_complete(chunks: list[Chunk], header: Header) -> None:
    """Raise ReadError if pixels of the default image are missing."""
    compressed = [chunk.content for chunk in chunks if chunk.type == b"IDAT"]
    _check_length(compressed, header)


def check_frames_are_complete(chunks: list[Chunk], header: Header) -> None:
    """Raise ReadError if pixels of the default image or of a later frame are missing.

    Parameters
    ----------
    chunks : list of Chunk
        All chunks of the file.
    header : Header
        The header of the file. Frames share its bit depth and colour type, but each
        has its own size.
    """
    compressed: list[bytes] = []
    frame_header = header
    for chunk in chunks:
        if chunk.type == b"IDAT":
            compressed.append(chunk.content)
        elif chunk.type == b"fdAT":
            # Unlike IDAT, fdAT starts with a sequence number of four bytes.
            compressed.append(chunk.content[4:])
        elif chunk.type == b"fcTL":
            # An fcTL chunk ends the data of the previous image.
            if compressed:
                _check_length(compressed, frame_header)
            compressed = []
            width, height = struct.unpack(">II", chunk.content[4:12])
            frame_header = header._replace(width=width, height=height)
    if compressed:
        _check_length(compressed, frame_header)


def _check_length(compressed: list[bytes], header: Header) -> None:
    """Raise ReadError if the compressed pixels of an image end early."""
    expected = _decompressed_size(header)
    decompressor = zlib.decompressobj()
    # Decompress part by part, so that the pixels are not all in memory at once.
    size = 0
    for part in compressed:
        size += len(decompressor.decompress(part))
    if size < expected or not decompressor.eof:
        raise ReadError(
            f"expected {expected} bytes of pixels, got {size}: the file is damaged"
        )


def _decompressed_size(header: Header) -> int:
    """Return the size of the filtered rows of an image, over all passes."""
    bits_per_pixel = SAMPLES_PER_PIXEL[header.colour_type] * header.bit_depth
    passes = ADAM7 if header.interlaced else NOT_INTERLACED
    size = 0
    for interlace_pass in passes:
        width = _ceil_div(
            header.width - interlace_pass.left, interlace_pass.column_step
        )
        height = _ceil_div(header.height - interlace_pass.top, interlace_pass.row_step)
        # Passes of a small image can be empty.
        if width > 0 and height > 0:
            size += height * (FILTER_BYTES + _ceil_div(width * bits_per_pixel, 8))
    return size


def _ceil_div(dividend: int, divisor: int) -> int:
    """Return the quotient, rounded up."""
    return -(-dividend // divisor)
