"""Parse the chunks of a PNG file, and check their checksums and order.

The decoders receive only the pixels of one image, so everything else is checked here.
Constants follow the PNG specification, third edition, sections 5, 8, 9 and 11.
"""

import struct
import zlib
from math import ceil
from typing import NamedTuple

from ..errors import ReadError

# Content of the IHDR chunk: width, height, bit depth, colour type, and the numbers of
# the methods of compression, filtering and interlacing.
HEADER = struct.Struct(">IIBBBBB")

# Content of the fcTL chunk of an animation: sequence number, width, height, left, top,
# numerator and denominator of the delay, disposal and blending.
FRAME_CONTROL = struct.Struct(">IIIIIHHBB")

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

# The first letter of a type is upper case if a decoder must not ignore the chunk. The
# specification defines no others than these.
CRITICAL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")

# At most one of each, before the pixels that it describes.
UNIQUE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"acTL")

# What a frame of an animation leaves behind: itself, nothing, or what was there before.
DISPOSE_NONE, DISPOSE_BACKGROUND, DISPOSE_PREVIOUS = 0, 1, 2

# Whether a frame replaces what is below it, or is composited over it.
BLEND_SOURCE, BLEND_OVER = 0, 1


class Chunk(NamedTuple):
    """One chunk of a file: its type, such as b"IDAT", and a view of its content."""

    type: bytes
    content: memoryview


class Header(NamedTuple):
    """The fields of the IHDR chunk."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool


class Frame(NamedTuple):
    """An image of a file: its compressed pixels, and where an animation shows them.

    The header has the size of this frame, which may be smaller than the image.
    """

    header: Header
    compressed: list[memoryview]
    left: int = 0
    top: int = 0
    dispose: int = DISPOSE_NONE
    blend: int = BLEND_SOURCE
    animated: bool = False


def parse_chunks(data: bytes) -> list[Chunk]:
    """Return all chunks of a PNG file.

    Raises
    ------
    ReadError
        If a CRC differs, the file ends before the IEND chunk, or chunks are unknown,
        repeated or out of order.
    """
    chunks: list[Chunk] = []
    view = memoryview(data)
    offset = len(SIGNATURE)
    while offset + CHUNK_OVERHEAD <= len(data):
        length, chunk_type = struct.unpack_from(">I4s", data, offset)
        content_end = offset + 8 + length
        # The CRC covers the type and the content.
        crc = zlib.crc32(view[offset + 4 : content_end])
        if data[content_end : content_end + 4] != crc.to_bytes(4):
            raise ReadError(
                f"chunk {chunk_type!r} at byte {offset} is damaged: the checksum "
                "differs"
            )
        chunks.append(Chunk(chunk_type, view[offset + 8 : content_end]))
        if chunk_type == b"IEND":
            _check_order([chunk.type for chunk in chunks])
            return chunks
        offset = content_end + 4
    raise ReadError("the file ends before its last chunk: it is truncated")


def _check_order(types: list[bytes]) -> None:
    """Raise ReadError if the chunks contradict section 5.6 of the specification."""
    for chunk_type in set(types):
        if chunk_type[:1].isupper() and chunk_type not in CRITICAL_CHUNKS:
            raise ReadError(
                f"chunk {chunk_type!r} is not part of the PNG specification, and no "
                "decoder may ignore it: the file is damaged or a private variant"
            )
    pixel_chunk_count = types.count(b"IDAT")
    if pixel_chunk_count == 0:
        raise ReadError("the file has no pixels (IDAT chunk): it is damaged")
    start = types.index(b"IDAT")
    if types[start : start + pixel_chunk_count] != [b"IDAT"] * pixel_chunk_count:
        raise ReadError("other chunks separate the IDAT chunks: the file is damaged")
    for chunk_type in UNIQUE_CHUNKS:
        if types.count(chunk_type) > 1 or chunk_type in types[start:]:
            raise ReadError(
                f"chunk {chunk_type!r} is repeated or follows the pixels: the file is "
                "damaged"
            )


def find_content(chunks: list[Chunk], chunk_type: bytes) -> bytes | None:
    """Return the content of the first chunk of a type, or None if there is none."""
    for chunk in chunks:
        if chunk.type == chunk_type:
            return bytes(chunk.content)
    return None


def parse_header(chunks: list[Chunk]) -> Header:
    """Return the header, or raise ReadError if it contradicts the specification."""
    chunk_type, content = chunks[0]
    if chunk_type == b"IHDR" and len(content) == HEADER.size:
        width, height, bit_depth, colour_type, *methods = HEADER.unpack(content)
        compression, filters, interlacing = methods
        if (
            width > 0
            and height > 0
            and bit_depth in BIT_DEPTHS.get(colour_type, ())
            and compression == 0
            and filters == 0
            and interlacing in (0, 1)
        ):
            return Header(width, height, bit_depth, colour_type, interlacing == 1)
    raise ReadError("the IHDR chunk is missing or invalid: the file is damaged")


def parse_frames(chunks: list[Chunk], header: Header) -> list[Frame]:
    """Return the image of the IDAT chunks, and the later frames of an animation.

    The default image, that of the IDAT chunks, is frame 0 even if it is not part of the
    animation.

    Raises
    ------
    ReadError
        If the animation contradicts section 11.3.6 of the specification.
    """
    animation_control = find_content(chunks, b"acTL")
    frames: list[Frame] = []
    frame = Frame(header, [])
    sequence_numbers: list[int] = []
    for chunk_type, content in chunks:
        if chunk_type == b"IDAT":
            frame.compressed.append(content)
            if not frames:
                frames.append(frame)
        elif animation_control is None:
            continue
        elif chunk_type == b"fcTL":
            # Frame control: it describes the pixels that follow it.
            number, frame = _parse_frame_control(content, header)
            sequence_numbers.append(number)
            if frames:
                frames.append(frame)
        elif chunk_type == b"fdAT":
            # Unlike IDAT, fdAT starts with a sequence number.
            sequence_numbers.append(int.from_bytes(content[:4]))
            frame.compressed.append(content[4:])
    if animation_control is None:
        return frames
    animated_count = sum(frame.animated for frame in frames)
    if (
        animated_count == 0
        or animated_count != int.from_bytes(animation_control[:4])
        or sequence_numbers != list(range(len(sequence_numbers)))
        or frames[0].header != header
    ):
        raise ReadError("chunks of the animation are damaged, repeated or missing")
    return frames


def _parse_frame_control(content: memoryview, header: Header) -> tuple[int, Frame]:
    """Return the sequence number of an fcTL chunk, and its frame without pixels."""
    if len(content) == FRAME_CONTROL.size:
        fields = FRAME_CONTROL.unpack(content)
        number, width, height, left, top, _, _, dispose, blend = fields
        if (
            width > 0
            and height > 0
            and left + width <= header.width
            and top + height <= header.height
            and dispose in (DISPOSE_NONE, DISPOSE_BACKGROUND, DISPOSE_PREVIOUS)
            and blend in (BLEND_SOURCE, BLEND_OVER)
        ):
            frame_header = header._replace(width=width, height=height)
            return number, Frame(frame_header, [], left, top, dispose, blend, True)
    raise ReadError("an fcTL chunk (frame control) is damaged")


def pass_sizes(header: Header) -> list[tuple[Pass, int, int, int]]:
    """Return the passes of an image that have pixels: width, height and stored bytes.

    The stored bytes are those of the filtered rows.
    """
    bits_per_pixel = SAMPLES_PER_PIXEL[header.colour_type] * header.bit_depth
    sizes = []
    passes = NOT_INTERLACED
    if header.interlaced:
        passes = ADAM7
    for interlace_pass in passes:
        left, top, column_step, row_step = interlace_pass
        width = ceil((header.width - left) / column_step)
        height = ceil((header.height - top) / row_step)
        # Passes of a small image can be empty.
        if width > 0 and height > 0:
            row_bytes = FILTER_BYTES + ceil(width * bits_per_pixel / 8)
            sizes.append((interlace_pass, width, height, height * row_bytes))
    return sizes
