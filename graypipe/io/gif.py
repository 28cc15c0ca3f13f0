"""GIF: the blocks of a file, walked before Pillow is handed them. Numbers are those of GIF89a, sections 17 to 27."""

import struct

from ..errors import ReadError


def check(data: bytes) -> None:
    """Raise ReadError where blocks are cut, a frame leaves the screen, or the first does not cover it."""
    from PIL import (
        Image,
    )  # only its limit: Pillow would warn above it, while it composes frames

    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        if (
            Image.MAX_IMAGE_PIXELS is not None
            and width * height > Image.MAX_IMAGE_PIXELS
        ):
            raise ReadError(
                "the GIF is larger than PIL.Image.MAX_IMAGE_PIXELS: where it is trusted, raise that limit"
            )
        _frames(data, 13 + _table(flags), (width, height))
    except (IndexError, struct.error):
        raise ReadError(
            "the file ends before its last block: it is truncated"
        ) from None


def _frames(data: bytes, at: int, screen: tuple[int, int]) -> None:
    first = True
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at = _after(data, at + 2)
        elif data[at] == 0x2C:
            left, top, width, height, flags = struct.unpack_from("<4HB", data, at + 1)
            if (
                left + width > screen[0]
                or top + height > screen[1]
                or (first and (width, height) != screen)
            ):
                raise ReadError(
                    f"a frame of {width} x {height} pixels does not fit its screen of {screen}"
                )
            at, first = _after(data, at + 11 + _table(flags)), False
        else:
            raise ReadError(f"byte {at} begins no block of a GIF: the file is damaged")
    if first:
        raise ReadError("the file holds no image")


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after(data: bytes, at: int) -> int:
    """Return where the blocks of data that begin at ``at`` end."""
    while data[at]:
        at += data[at] + 1
    return at + 1
