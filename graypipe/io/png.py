"""Decode PNG files with imagecodecs: libdeflate decompresses, libpng undoes filters.

Both receive only the pixels of one image or pass, so invalid content of text, profile
or time chunks has no effect. Every checksum is verified, which libpng alone does not
do: it stops after the last row, before the checksum of all rows.
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..engine import limits
from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    DecodedImage,
    Request,
    apply_palette,
    check_size,
    decode_frames,
    gray_or_rgb,
    is_gray_palette,
    split_alpha,
)
from .exif import parse_orientation
from .png_chunks import (
    BLEND_OVER,
    DISPOSE_BACKGROUND,
    DISPOSE_PREVIOUS,
    GRAY,
    GRAY_ALPHA,
    HEADER,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SAMPLES_PER_PIXEL,
    SIGNATURE,
    Chunk,
    Frame,
    Header,
    find_content,
    parse_chunks,
    parse_frames,
    parse_header,
    pass_sizes,
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

# The start of a zlib stream, RFC 1950, section 2.2: deflate with a window of 32 KiB.
ZLIB_HEADER = b"\x78\x01"

# The most bytes in a block that is stored rather than compressed, RFC 1951, section
# 3.2.4. The complement of its length, which follows it, is MAX_BLOCK - length.
MAX_BLOCK = 65535

# Keyword of the text chunk that holds XMP, and the zero that ends it.
XMP_KEYWORD = b"XML:com.adobe.xmp\0"

# The last four bytes of a zlib stream are the Adler-32 checksum of what it holds.
ADLER_BYTES = 4


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
        "frames": len(parse_frames(chunks, header)),
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
        If imagecodecs is not installed.
    """
    data = file.read()
    chunks = parse_chunks(data)
    header = parse_header(chunks)
    sample_count = header.width * header.height * SAMPLES_PER_PIXEL[header.colour_type]
    bytes_per_sample = 2 if header.bit_depth == 16 else 1
    check_size(sample_count * bytes_per_sample, len(data))
    frames = parse_frames(chunks, header)
    # Composing a frame requires those before it. `decode_frames` requests frames in
    # increasing order, so a single pass over all of them suffices.
    composed = enumerate(_compose_frames(chunks, frames))

    def decode_frame(number: int) -> DecodedImage:
        return next(image for index, image in composed if index == number)

    decoded = decode_frames(request.frame, len(frames), decode_frame)
    return replace(decoded, orientation=_orientation(chunks))


def _orientation(chunks: list[Chunk]) -> int | None:
    """Return the orientation recorded in EXIF or XMP."""
    xmp = None
    for chunk in chunks:
        # Section 11.3.3.5: one of the text chunks, known by its keyword, holds XMP.
        if chunk.type == b"iTXt" and chunk.content[: len(XMP_KEYWORD)] == XMP_KEYWORD:
            xmp = bytes(chunk.content)
    return parse_orientation(find_content(chunks, b"eXIf"), xmp)


def _compose_frames(chunks: list[Chunk], frames: list[Frame]) -> Iterator[DecodedImage]:
    """Yield the frames of a file, each as an animation shows it.

    Section 11.3.6.2 of the specification: a frame is drawn onto the canvas, shown, and
    then kept or removed. The first frame is the default image.
    """
    default_image = _decode_image(chunks, frames[0])
    yield default_image
    if len(frames) == 1:
        return
    # At first the canvas is black, and transparent everywhere.
    canvas = np.zeros_like(default_image.image)
    alpha = np.zeros(canvas.shape[:2], canvas.dtype)
    for number, frame in enumerate(frames):
        if not frame.animated:
            continue
        region = np.s_[
            frame.top : frame.top + frame.header.height,
            frame.left : frame.left + frame.header.width,
        ]
        canvas_before = canvas[region].copy()
        alpha_before = alpha[region].copy()
        decoded = _decode_image(chunks, frame)
        if decoded.alpha is None:
            canvas[region] = decoded.image
            alpha[region] = _opaque(canvas.dtype)
        elif frame.blend == BLEND_OVER:
            canvas[region], alpha[region] = _blend(
                decoded.image, decoded.alpha, canvas_before, alpha_before
            )
        else:
            canvas[region] = decoded.image
            alpha[region] = decoded.alpha
        if number > 0:
            yield replace(default_image, image=canvas.copy(), alpha=alpha.copy())
        if frame.dispose == DISPOSE_PREVIOUS:
            canvas[region] = canvas_before
            alpha[region] = alpha_before
        elif frame.dispose == DISPOSE_BACKGROUND:
            canvas[region] = 0
            alpha[region] = 0


def _blend(
    upper: NDArray[Any],
    upper_alpha: NDArray[Any],
    lower: NDArray[Any],
    lower_alpha: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the colour and alpha of an image composited over another one.

    Section 13.16 of the specification. Values are rounded to the nearest.
    """
    opaque = _opaque(upper.dtype)
    upper_part = upper_alpha / opaque
    alpha = upper_part + (1 - upper_part) * (lower_alpha / opaque)
    # Where both are transparent, the colour has no meaning.
    weight = np.divide(upper_part, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    if upper.ndim == 3:
        weight = weight[..., np.newaxis]
    colour = weight * upper + (1 - weight) * lower
    return (
        np.rint(colour).astype(upper.dtype),
        np.rint(alpha * opaque).astype(upper.dtype),
    )


def _decode_image(chunks: list[Chunk], frame: Frame) -> DecodedImage:
    """Return the default image or one frame of an animation, without composing it."""
    header = frame.header
    samples = _decode_samples(frame)
    transparency = find_content(chunks, b"tRNS")
    if header.colour_type == PALETTE:
        return apply_palette(samples, _palette(chunks), _palette_alpha(transparency))
    if header.colour_type in (GRAY_ALPHA, RGB_ALPHA):
        return split_alpha(samples)
    alpha = None
    if transparency is not None:
        alpha = _alpha_of_transparent_colour(samples, transparency, header)
    # These depths are scaled to 8 bits. The returned array has 8 bits, so `read` must
    # reject bits=4, although the file has 4 bits: record bits=8.
    source_keywords = {"bits": 8} if header.bit_depth in (2, 4) else {}
    return gray_or_rgb(samples, alpha=alpha, source_keywords=source_keywords)


def _decode_samples(frame: Frame) -> NDArray[Any]:
    """Return the samples of an image, shape (H, W) or (H, W, samples).

    Those of a palette image are indices.
    """
    header = frame.header
    passes = pass_sizes(header)
    rows = _decompress(frame.compressed, sum(size for *_, size in passes))
    if header.interlaced:
        samples = _decode_passes(rows, header)
    else:
        samples = _undo_filters(rows, header)
    # libpng scales fewer than 8 bits to 8 bits.
    if header.colour_type == PALETTE:
        samples //= 255 // (2**header.bit_depth - 1)
    elif header.bit_depth == 1:
        samples = samples.astype(bool)
    return samples


def _decode_passes(rows: bytes, header: Header) -> NDArray[Any]:
    """Return the samples of an interlaced image."""
    sample_count = SAMPLES_PER_PIXEL[header.colour_type]
    dtype = np.uint16 if header.bit_depth == 16 else np.uint8
    image = np.empty((header.height, header.width, sample_count), dtype)
    offset = 0
    for (left, top, column_step, row_step), width, height, size in pass_sizes(header):
        # A pass is an image of its own, with fewer pixels.
        pass_header = header._replace(width=width, height=height)
        pixels = _undo_filters(rows[offset : offset + size], pass_header)
        image[top::row_step, left::column_step] = pixels.reshape(height, width, -1)
        offset += size
    return image[..., 0] if sample_count == 1 else image


def _decompress(parts: list[memoryview], size: int) -> bytes:
    """Return the filtered rows of an image, which have ``size`` bytes.

    Raises
    ------
    ReadError
        If there are fewer or more bytes, or their checksum differs.
    """
    with require_extra("io", "imagecodecs"):
        import imagecodecs
    compressed = b"".join(parts)
    try:
        rows = bytes(imagecodecs.deflate_decode(compressed, out=size))
    except imagecodecs.DeflateError:
        raise ReadError(
            f"the compressed pixels do not hold the {size} bytes that the header "
            "implies, or their checksum differs: the file is damaged"
        ) from None
    if len(rows) != size:
        raise ReadError(
            f"expected {size} bytes of pixels, got {len(rows)}: the file is damaged"
        )
    # libdeflate ignores what follows the checksum.
    if imagecodecs.deflate_adler32(rows).to_bytes(4) != compressed[-ADLER_BYTES:]:
        raise ReadError(
            "the compressed pixels are followed by other data: the file is damaged"
        )
    return rows


def _undo_filters(rows: bytes, header: Header) -> NDArray[Any]:
    """Return the samples of filtered rows, shape (H, W) or (H, W, samples)."""
    pixel_bytes = SAMPLES_PER_PIXEL[header.colour_type] * header.bit_depth // 8
    if pixel_bytes == 0 or not _kernel_is_loaded():
        return _undo_filters_by_libpng(rows, header)
    from ..engine import kernel_cache

    coded = np.frombuffer(rows, np.uint8).reshape(header.height, -1)
    pixels = np.empty((header.height, header.width * pixel_bytes), np.uint8)
    if not kernel_cache.undo_png_filters()(coded, pixels, pixel_bytes):
        raise ReadError("a row has an unknown filter: the file is damaged")
    samples: NDArray[Any] = pixels
    if header.bit_depth == 16:
        samples = pixels.view(">u2").astype(np.uint16)
    if samples.shape[1] == header.width:
        return samples
    return samples.reshape(header.height, header.width, -1)


def _kernel_is_loaded() -> bool:
    """Return whether the kernels of the numba engine are in use.

    One of them undoes filters in half of libpng's time, with the same result. Importing
    numba would take longer than that saves, so it is left to the first call of a plan.
    """
    return "graypipe.engine.kernel_cache" in sys.modules


def _undo_filters_by_libpng(rows: bytes, header: Header) -> NDArray[Any]:
    """Return the samples of filtered rows, with the filters undone by libpng.

    libpng reads files only, so the rows are put in a file, without compression.
    """
    import imagecodecs

    # A palette would be applied, so indices are declared to be gray.
    colour_type = GRAY if header.colour_type == PALETTE else header.colour_type
    fields = (header.width, header.height, header.bit_depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", HEADER.pack(*fields)), (b"IDAT", ZLIB_HEADER)]
    for start in range(0, len(rows), MAX_BLOCK):
        block = rows[start : start + MAX_BLOCK]
        is_last = start + MAX_BLOCK >= len(rows)
        block_header = struct.pack("<?HH", is_last, len(block), MAX_BLOCK - len(block))
        chunks.append((b"IDAT", block_header + block))
    chunks.append((b"IDAT", struct.pack(">I", imagecodecs.deflate_adler32(rows))))
    chunks.append((b"IEND", b""))
    parts = [SIGNATURE]
    for chunk_type, content in chunks:
        body = chunk_type + content
        crc = imagecodecs.deflate_crc32(body)
        parts += [struct.pack(">I", len(content)), body, struct.pack(">I", crc)]
    return imagecodecs.png_decode(b"".join(parts))


def _opaque(dtype: np.dtype[Any]) -> int:
    """Return the alpha of an opaque pixel."""
    return limits(dtype)[1]


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
    opaque = _opaque(samples.dtype)
    if header.bit_depth < 8:
        # Scaled to 8 bits as the samples are.
        colour *= opaque // (2**header.bit_depth - 1)
    if samples.ndim == 2:
        is_transparent = samples == colour[0]
    else:
        is_transparent = (samples == colour).all(-1)
    return np.where(is_transparent, 0, opaque).astype(samples.dtype)
