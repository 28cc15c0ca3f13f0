"""Validate the block structure of a GIF file; Pillow does not.

Constants follow GIF89a, sections 17 to 27.
"""

import struct

from ..errors import ReadError

EXTENSION = 0x21
IMAGE = 0x2C
TRAILER = 0x3B

# Signature and version, 6 bytes; then the logical screen descriptor, 7 bytes.
SCREEN_OFFSET = 6
BLOCKS_OFFSET = 13


def check_gif(data: bytes) -> None:
    """Raise ReadError if a GIF file is not complete.

    Raises
    ------
    ReadError
        If a block is truncated, a frame exceeds the screen, or the first frame does
        not cover it (Pillow would fill the remainder). Also if the screen has more
        than PIL.Image.MAX_IMAGE_PIXELS pixels.
    """
    # Imported for MAX_IMAGE_PIXELS, above which Pillow warns for every frame.
    from PIL import Image

    try:
        width, height, flags = struct.unpack_from("<HHB", data, SCREEN_OFFSET)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and width * height > limit:
            raise ReadError(
                f"the GIF has {width * height} pixels, but PIL.Image.MAX_IMAGE_PIXELS "
                f"is {limit}: if you trust the file, raise that limit"
            )
        offset = BLOCKS_OFFSET + _colour_table_size(flags)
        _check_blocks(data, offset, (width, height))
    except (IndexError, struct.error):
        raise ReadError(
            "the file ends before its last block: it is truncated"
        ) from None


def _check_blocks(data: bytes, offset: int, screen: tuple[int, int]) -> None:
    """Raise ReadError if the blocks from ``offset`` on are damaged."""
    is_first = True
    while data[offset] != TRAILER:
        if data[offset] == EXTENSION:
            # The second byte is the kind of the extension.
            offset = _skip_sub_blocks(data, offset + 2)
        elif data[offset] == IMAGE:
            descriptor = struct.unpack_from("<4HB", data, offset + 1)
            left, top, width, height, flags = descriptor
            exceeds_screen = left + width > screen[0] or top + height > screen[1]
            if exceeds_screen or (is_first and (width, height) != screen):
                raise ReadError(
                    f"a frame of {width} x {height} pixels does not match the screen "
                    f"of {screen[0]} x {screen[1]}: the file is damaged"
                )
            is_first = False
            # The descriptor has 10 bytes; one byte before the pixels is the code size.
            pixels = offset + 10 + _colour_table_size(flags) + 1
            offset = _skip_sub_blocks(data, pixels)
        else:
            raise ReadError(f"invalid GIF block at byte {offset}: the file is damaged")
    if is_first:
        raise ReadError("the file contains no image")


def _colour_table_size(flags: int) -> int:
    """Return the size in bytes of the colour table that follows a descriptor."""
    has_table = flags & 0x80
    if not has_table:
        return 0
    bits_per_colour = (flags & 0x07) + 1
    colour_count = 1 << bits_per_colour
    return 3 * colour_count


def _skip_sub_blocks(data: bytes, offset: int) -> int:
    """Return the offset after the sub-blocks that start at ``offset``.

    An empty sub-block terminates them.
    """
    while data[offset] != 0:
        size = data[offset]
        offset += 1 + size
    return offset + 1
