"""Decode PNG files with Pillow, or imagecodecs where Pillow would reduce 16 bits to 8.

Only the chunks needed for decoding are passed to the decoder, so damaged text, profile
or time chunks are ignored.
"""

import struct
import zlib
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    DecodedImage,
    Request,
    apply_palette,
    check_size,
    decode_frames,
    is_gray_palette,
    split_alpha,
)
from .exif import parse_orientation
from .pillow_formats import from_pillow
from .png_chunks import (
    ADAM7,
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SAMPLES_PER_PIXEL,
    Chunk,
    Header,
    check_frames_are_complete,
    check_still_is_complete,
    count_frames,
    find_content,
    join_chunks,
    parse_chunks,
    parse_header,
)

# (colour type, bit depth) -> mode in `facts`: Pillow's mode where one exists.
MODES = {
    (GRAY, 1): "1",
    (GRAY, 2): "L",
    (GRAY, 4): "L",
    (GRAY, 8): "L",
    (GRAY, 16): "I;16",
    (RGB, 8): "RGB",
    (RGB, 16): "RGB;16",
    (PALETTE, 1): "P",
    (PALETTE, 2): "P",
    (PALETTE, 4): "P",
    (PALETTE, 8): "P",
    (GRAY_ALPHA, 8): "LA",
    (GRAY_ALPHA, 16): "LA;16",
    (RGB_ALPHA, 8): "RGBA",
    (RGB_ALPHA, 16): "RGBA;16",
}

# The chunks needed to decode a still image, and an animation.
STILL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
ANIMATION_CHUNKS = (*STILL_CHUNKS, b"tRNS", b"acTL", b"fcTL", b"fdAT")


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a PNG file from its chunks; see `graypipe.io.facts`."""
    chunks = parse_chunks(file.read())
    header = parse_header(chunks)
    colour_type, bit_depth = header.colour_type, header.bit_depth
    if colour_type == PALETTE:
        is_gray = is_gray_palette(_palette(chunks))
    else:
        is_gray = colour_type in (GRAY, GRAY_ALPHA)
    if colour_type == GRAY and bit_depth == 1:
        dtype = "bool"
    else:
        dtype = "uint16" if bit_depth == 16 else "uint8"
    has_transparent_colour = find_content(chunks, b"tRNS") is not None
    return {
        "format": "PNG",
        "mode": MODES[colour_type, bit_depth],
        "width": header.width,
        "height": header.height,
        "frames": count_frames(chunks),
        "bands": 1 if is_gray else 3,
        "dtype": dtype,
        "alpha": colour_type in (GRAY_ALPHA, RGB_ALPHA) or has_transparent_colour,
        "orientation": _orientation(chunks),
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one frame of a PNG file.

    Gray of 2 or 4 bits is scaled to 8 bits: an n-bit value v becomes
    v * 255 / (2**n - 1), which is an integer.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        If the default image is not part of the animation, it is frame 0.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, or the frame is not valid.
    MissingExtraError
        If the file has 16-bit colour or alpha and imagecodecs is not installed.
    """
    data = file.read()
    chunks = parse_chunks(data)
    header = parse_header(chunks)
    sample_count = header.width * header.height * SAMPLES_PER_PIXEL[header.colour_type]
    bytes_per_sample = 2 if header.bit_depth == 16 else 1
    check_size(sample_count * bytes_per_sample, len(data))

    def decode_frame(number: int) -> DecodedImage:
        if number == 0:
            return _decode_still(chunks, header)
        return _decode_animation_frame(chunks, header, number)

    decoded = decode_frames(request.frame, count_frames(chunks), decode_frame)
    return replace(decoded, orientation=_orientation(chunks))


def _orientation(chunks: list[Chunk]) -> int | None:
    """Return the orientation recorded in EXIF or XMP (chunk iTXt)."""
    return parse_orientation(
        find_content(chunks, b"eXIf"), find_content(chunks, b"iTXt")
    )


def _decode_still(chunks: list[Chunk], header: Header) -> DecodedImage:
    """Return the still image, which is the first frame."""
    samples = _complete_samples(chunks, header)
    transparency = find_content(chunks, b"tRNS")
    if header.colour_type == PALETTE:
        return apply_palette(samples, _palette(chunks), _palette_alpha(transparency))
    if header.colour_type in (GRAY_ALPHA, RGB_ALPHA):
        return split_alpha(samples)
    alpha = None
    if transparency is not None:
        alpha = _alpha_of_transparent_colour(samples, transparency, header)
    # Pillow scales these depths to 8 bits. The returned array has 8 bits, so `read`
    # must reject bits=4, although the file has 4 bits: record bits=8.
    source_keywords = {"bits": 8} if header.bit_depth in (2, 4) else {}
    if header.colour_type == GRAY:
        layout, bands = "HW", "gray"
    else:
        layout, bands = "HWC", "RGB"
    return DecodedImage(samples, layout, bands, alpha, source_keywords=source_keywords)


def _complete_samples(chunks: list[Chunk], header: Header) -> NDArray[Any]:
    """Return all samples of the still image, with palettes as indices.

    Decoders do not report missing data: they leave rows at zero, and in an interlaced
    image repeat the pixels of earlier passes.
    """
    if header.interlaced:
        check_still_is_complete(chunks, header)
        if header.bit_depth == 16 and header.colour_type != GRAY:
            return _decode_passes(chunks, header)
    samples = _decode_samples(join_chunks(chunks, STILL_CHUNKS), header)
    # The check decompresses the file once more, so it is skipped if the last row is not
    # all zero, which proves that the decoder reached it.
    if not header.interlaced and not samples[-1].any():
        check_still_is_complete(chunks, header)
    return samples


def _decode_samples(data: bytes, header: Header) -> NDArray[Any]:
    """Return the samples of a PNG file, shape (H, W) or (H, W, samples)."""
    if header.bit_depth == 16 and header.colour_type != GRAY:
        # Pillow has no mode for them and keeps the upper 8 bits only.
        with require_extra("io", "imagecodecs"):
            import imagecodecs
        return np.asarray(imagecodecs.png_decode(data))
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(BytesIO(data)) as image:
        samples = np.array(image)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _decode_passes(chunks: list[Chunk], header: Header) -> NDArray[Any]:
    """Return the samples of an interlaced image of 16-bit colour or alpha.

    Each pass is decoded as a separate image, because libpng writes a warning to stderr
    when imagecodecs decodes an interlaced image.
    """
    compressed = [chunk.content for chunk in chunks if chunk.type == b"IDAT"]
    rows = zlib.decompress(b"".join(compressed))
    sample_count = SAMPLES_PER_PIXEL[header.colour_type]
    image = np.empty((header.height, header.width, sample_count), np.uint16)
    offset = 0
    for left, top, column_step, row_step in ADAM7:
        pixels = image[top::row_step, left::column_step]
        if pixels.size == 0:
            continue
        height, width, _ = pixels.shape
        # A row is a filter byte and two bytes for each sample.
        size = height * (1 + 2 * width * sample_count)
        pass_rows = rows[offset : offset + size]
        pixels[...] = _decode_pass(pass_rows, height, width, header)
        offset += size
    return image


def _decode_pass(
    rows: bytes, height: int, width: int, header: Header
) -> NDArray[np.uint16]:
    """Return the samples of filtered rows, decoded as a separate PNG file."""
    fields = (width, height, header.bit_depth, header.colour_type, 0, 0, 0)
    chunks = [
        Chunk(b"IHDR", struct.pack(">IIBBBBB", *fields)),
        # Level 1, the fastest: the data are decompressed again immediately.
        Chunk(b"IDAT", zlib.compress(rows, 1)),
        Chunk(b"IEND", b""),
    ]
    return _decode_samples(join_chunks(chunks, STILL_CHUNKS), header)


def _decode_animation_frame(
    chunks: list[Chunk], header: Header, chosen: int
) -> DecodedImage:
    """Return a later frame of an animation, composed by Pillow."""
    from PIL.PngImagePlugin import PngImageFile

    if header.bit_depth != 8:
        raise ReadError(
            f"expected an animation of 8 bits per sample, got {header.bit_depth}: only "
            "frame=0 can be read"
        )
    check_frames_are_complete(chunks, header)
    data = join_chunks(chunks, ANIMATION_CHUNKS)
    with PngImageFile(BytesIO(data)) as image:
        image.seek(chosen)
        return from_pillow(image)


def _palette(chunks: list[Chunk]) -> NDArray[np.uint8]:
    """Return the palette, shape (n, 3)."""
    content = find_content(chunks, b"PLTE")
    if not content or len(content) % 3 != 0:
        raise ReadError("the palette is missing or damaged")
    return np.frombuffer(content, np.uint8).reshape(-1, 3)


def _palette_alpha(transparency: bytes | None) -> NDArray[np.uint8] | None:
    """Return the alpha of all 256 possible indices, or None if all are opaque."""
    if not transparency:
        return None
    # The chunk may be shorter than the palette: the rest is opaque.
    return np.frombuffer(transparency.ljust(256, b"\xff")[:256], np.uint8)


def _alpha_of_transparent_colour(
    samples: NDArray[Any], transparency: bytes, header: Header
) -> NDArray[Any]:
    """Return alpha that is 0 where a pixel has the transparent colour, else opaque."""
    sample_count = SAMPLES_PER_PIXEL[header.colour_type]
    if len(transparency) != 2 * sample_count:
        raise ReadError("the transparent colour is damaged")
    # Each sample is stored in 16 bits, and bits above the bit depth are ignored.
    colour = np.array(struct.unpack(f">{sample_count}H", transparency))
    colour &= 2**header.bit_depth - 1
    opaque = 1 if samples.dtype == bool else np.iinfo(samples.dtype).max
    if header.bit_depth < 8:
        # Scaled to 8 bits as the samples are.
        colour *= opaque // (2**header.bit_depth - 1)
    if samples.ndim == 2:
        is_transparent = samples == colour[0]
    else:
        is_transparent = (samples == colour).all(-1)
    return np.where(is_transparent, 0, opaque).astype(samples.dtype)
