"""Parse the blocks of a GIF file, whose structure Pillow does not check.

Constants follow GIF89a, sections 17 to 27.
"""

import struct
from dataclasses import dataclass

from ..errors import ReadError
from .decoded import raise_limit

EXTENSION = 0x21
IMAGE = 0x2C
TRAILER = 0x3B

# Signature and version, 6 bytes; then the logical screen descriptor, 7 bytes.
SCREEN_OFFSET = 6
BLOCKS_OFFSET = 13

# A frame of one transparent pixel: a graphic control extension (disposal method 1,
# which leaves it in place, and transparent index 0), an image descriptor, a table of
# two colours, and the codes clear, 0 and end.
TRANSPARENT_FRAME = bytes.fromhex(
    "21f904 05 0000 00 00  2c 0000 0000 0100 0100 80  000000 000000  02 02 4401 00"
)


@dataclass(frozen=True)
class GifBlocks:
    """The size, frames and colours of a GIF file, as its blocks declare them.

    Parameters
    ----------
    screen : tuple of int
        Width and height of the image.
    first_frame : tuple of int
        Left, top, width and height of the first frame.
    frame_count : int
        Number of frames.
    is_gray : bool
        Whether every colour of all tables is gray.
    offset : int
        Offset of the first block.
    """

    screen: tuple[int, int]
    first_frame: tuple[int, int, int, int]
    frame_count: int
    is_gray: bool
    offset: int

    @property
    def covers_screen(self) -> bool:
        """Whether the first frame has the size of the screen."""
        return self.first_frame[2:] == self.screen


def parse_gif(data: bytes) -> GifBlocks:
    """Parse all blocks of a GIF file.

    Raises
    ------
    ReadError
        If a block is truncated or a frame exceeds the screen. Also if the screen has
        more than PIL.Image.MAX_IMAGE_PIXELS pixels.
    """
    # Imported for MAX_IMAGE_PIXELS, above which Pillow warns for every frame.
    from PIL import Image

    try:
        width, height, flags = struct.unpack_from("<HHB", data, SCREEN_OFFSET)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and width * height > limit:
            raise ReadError(
                f"the GIF has {width * height} pixels: if you trust the file, "
                f"{raise_limit(width * height)}"
            )
        offset = BLOCKS_OFFSET + _colour_table_size(flags)
        frames, is_gray = _check_blocks(data, offset, (width, height))
    except (IndexError, struct.error):
        raise ReadError(
            "the file ends before its last block: it is truncated"
        ) from None
    is_gray = is_gray and _is_gray(data, BLOCKS_OFFSET, flags)
    return GifBlocks((width, height), frames[0], len(frames), is_gray, offset)


def with_transparent_screen(data: bytes, blocks: GifBlocks) -> bytes:
    """Return a GIF file with a transparent first frame, which makes the others RGBA.

    Pillow composes the frames of such a file as browsers do, on a transparent screen.
    Otherwise, it fills pixels that no frame covers with an arbitrary colour. If the
    first frame is gray, it also draws indices of later frames as if they were gray
    levels.
    """
    return data[: blocks.offset] + TRANSPARENT_FRAME + data[blocks.offset :]


def _check_blocks(
    data: bytes, offset: int, screen: tuple[int, int]
) -> tuple[list[tuple[int, int, int, int]], bool]:
    """Return the frames, and whether the colour tables of all of them are gray.

    Raise ReadError if the blocks from ``offset`` on are damaged.
    """
    frames = []
    is_gray = True
    while data[offset] != TRAILER:
        if data[offset] == EXTENSION:
            # The second byte is the kind of the extension.
            offset = _skip_sub_blocks(data, offset + 2)
        elif data[offset] == IMAGE:
            descriptor = struct.unpack_from("<4HB", data, offset + 1)
            left, top, width, height, flags = descriptor
            if left + width > screen[0] or top + height > screen[1]:
                raise ReadError(
                    f"a frame of {width} x {height} pixels at {left}, {top} exceeds "
                    f"the screen of {screen[0]} x {screen[1]}: the file is damaged"
                )
            frames.append((left, top, width, height))
            is_gray = is_gray and _is_gray(data, offset + 10, flags)
            # The descriptor has 10 bytes; one byte before the pixels is the code size.
            pixels = offset + 10 + _colour_table_size(flags) + 1
            offset = _skip_sub_blocks(data, pixels)
        else:
            raise ReadError(f"invalid GIF block at byte {offset}: the file is damaged")
    if not frames:
        raise ReadError("the file contains no image")
    return frames, is_gray


def _colour_table_size(flags: int) -> int:
    """Return the size in bytes of the colour table that follows a descriptor."""
    has_table = flags & 0x80
    if not has_table:
        return 0
    bits_per_colour = (flags & 0x07) + 1
    colour_count = 1 << bits_per_colour
    return 3 * colour_count


def _is_gray(data: bytes, offset: int, flags: int) -> bool:
    """Return whether the colour table at ``offset``, if there is one, is gray."""
    table = data[offset : offset + _colour_table_size(flags)]
    return table[0::3] == table[1::3] == table[2::3]


def _skip_sub_blocks(data: bytes, offset: int) -> int:
    """Return the offset after the sub-blocks that start at ``offset``.

    An empty sub-block terminates them.
    """
    while data[offset] != 0:
        size = data[offset]
        offset += 1 + size
    return offset + 1
