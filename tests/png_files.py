"""PNG files of any depth and colour type, written chunk by chunk: an encoder that shares nothing with the package."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name, content=b""):
    return (
        struct.pack(">I4s", len(content), name)
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(pixels, depth, colour, *, before=(), after=()):
    """Return a file with ``pixels``, (H, W) or (H, W, samples) of ``depth`` bits, other chunks round them."""
    height, width = pixels.shape[:2]
    header = chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )
    data = chunk(
        b"IDAT", zlib.compress(b"".join(b"\0" + packed(row, depth) for row in pixels))
    )
    return b"".join([SIGNATURE, header, *before, data, *after, chunk(b"IEND")])


def packed(row, depth):
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = (row.ravel()[:, None] >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()
