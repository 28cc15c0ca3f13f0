"""Decode JPEG XL files with imagecodecs (libjxl).

imagecodecs returns the pixels, but not what they mean. The header of the codestream,
which says that, is parsed here. Sections are those of ISO/IEC 18181-1.
"""

from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import require_extra
from .decoded import (
    DecodedImage,
    Request,
    bits_keyword,
    check_size,
    decode_frames,
    gray_or_rgb,
    split_alpha,
)
from .isobmff import iterate_boxes

CODESTREAM_SIGNATURE = b"\xff\x0a"

# Aspect ratios of the size header, table D.2: the width is height * a // b.
ASPECT_RATIOS = {
    1: (1, 1),
    2: (12, 10),
    3: (4, 3),
    4: (3, 2),
    5: (16, 9),
    6: (5, 4),
    7: (2, 1),
}

# Distributions of integers, section B.2.2: each a number of bits and an offset.
SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
INTEGER_BITS = ((0, 8), (0, 10), (0, 12), (6, 1))
FLOAT_BITS = ((0, 32), (0, 16), (0, 24), (6, 1))
ENUMERATION = ((0, 0), (0, 1), (4, 2), (6, 18))
EXTRA_COUNTS = ((0, 0), (0, 1), (4, 2), (12, 1))
DIMENSION_SHIFTS = ((0, 0), (0, 3), (0, 4), (3, 1))
NAME_LENGTHS = ((0, 0), (4, 0), (5, 16), (10, 48))
PREVIEW_BLOCKS = ((0, 16), (0, 32), (5, 1), (9, 33))
PREVIEW_SIZES = ((6, 1), (8, 65), (10, 321), (12, 1345))
TICKS = ((0, 100), (0, 1000), (10, 1), (30, 1))
TICK_DIVISORS = ((0, 1), (0, 1001), (8, 1), (10, 1))
LOOPS = ((0, 0), (3, 0), (16, 0), (32, 0))
CFA_CHANNELS = ((0, 1), (2, 0), (4, 3), (8, 19))

# Colour spaces, table E.2, and types of extra channels, table D.9.
RGB, GRAY = 0, 1
ALPHA, SPOT_COLOUR, COLOUR_FILTER_ARRAY = 0, 2, 5


class Depth(NamedTuple):
    """Bits of a sample, and of its exponent, which is 0 for integers."""

    bits: int
    exponent_bits: int


EIGHT_BITS = Depth(8, 0)
FLOAT32 = Depth(32, 8)


class ExtraChannel(NamedTuple):
    """A channel that is not a colour."""

    kind: int
    depth: Depth
    subsampled: bool
    premultiplied: bool


@dataclass
class Header:
    """The header of a codestream; the defaults are those of section D.3."""

    width: int
    height: int
    orientation: int = 1
    animated: bool = False
    depth: Depth = EIGHT_BITS
    extra_channels: tuple[ExtraChannel, ...] = ()
    colour_space: int = RGB

    @property
    def sample_count(self) -> int:
        """Number of samples of a pixel."""
        return (1 if self.colour_space == GRAY else 3) + len(self.extra_channels)

    @property
    def has_alpha(self) -> bool:
        """Whether the only extra channel is alpha."""
        return [extra.kind for extra in self.extra_channels] == [ALPHA]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the decoded image; bool for 1 bit."""
        bits = self.depth.bits
        if self.depth.exponent_bits:
            return np.dtype("f2" if bits <= 16 else "f4")
        if bits == 1:
            return np.dtype(bool)
        for size in (1, 2):
            if bits <= 8 * size:
                return np.dtype(f"u{size}")
        return np.dtype("u4")


class BitReader:
    """Read the integers of a header, section B.2: the lowest bit comes first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 8 * len(CODESTREAM_SIGNATURE)

    def bits(self, count: int) -> int:
        """Return an integer of ``count`` bits, 32 at most."""
        first, shift = divmod(self._position, 8)
        self._position += count
        if self._position > 8 * len(self._data):
            raise ReadError("the file ends inside its header: it is truncated")
        window = int.from_bytes(self._data[first : first + 5], "little")
        return (window >> shift) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Return one bit."""
        return self.bits(1) == 1

    def number(self, distributions: tuple[tuple[int, int], ...]) -> int:
        """Return an integer with one of four distributions, which 2 bits select."""
        count, offset = distributions[self.bits(2)]
        return self.bits(count) + offset


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a JPEG XL file from its header; see `graypipe.io.facts`.

    Only decoding shows how many frames an animation has.
    """
    data = file.read()
    header = _parse_header(_find_codestream(data))
    band_count = header.sample_count
    if header.has_alpha:
        band_count -= 1
    frame_count = 1
    if header.animated:
        frame_count = len(_decode_pixels(data, header))
    return {
        "format": "JPEG XL",
        "mode": f"{header.dtype} x {header.sample_count}",
        "width": header.width,
        "height": header.height,
        "frames": frame_count,
        "bands": band_count,
        "dtype": header.dtype.name,
        "alpha": header.has_alpha,
        "orientation": header.orientation,
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one frame of a JPEG XL file, or all of them.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        What to read.

    Returns
    -------
    DecodedImage
        With the number of bits in its source keywords if it is not that of the dtype.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, the frame is not valid, or
        libjxl would reduce its depth or drop one of its channels.
    MissingExtraError
        If imagecodecs is not installed.
    """
    data = file.read()
    header = _parse_header(_find_codestream(data))
    _check_supported(header)
    pixel_count = header.width * header.height
    check_size(pixel_count * header.sample_count * header.dtype.itemsize, len(data))
    frames = _decode_pixels(data, header)
    decoded = decode_frames(
        request.frame, len(frames), lambda number: _describe(frames[number], header)
    )
    return replace(decoded, orientation=header.orientation)


def _decode_pixels(data: bytes, header: Header) -> NDArray[Any]:
    """Return all frames as (frames, H, W, samples), or (frames, samples, H, W)."""
    with require_extra("io", "imagecodecs"):
        import imagecodecs
    try:
        # libjxl would turn the image upright, but that is left to `orientation=`.
        pixels = imagecodecs.jpegxl_decode(data, keeporientation=True)
    except RuntimeError as error:
        raise ReadError(_damage_message(error)) from None
    frame_size = header.height * header.width * header.sample_count
    frame_count, remainder = divmod(pixels.size, frame_size)
    if remainder:
        raise ReadError(
            f"expected frames of {frame_size} values, got {pixels.size} in all: the "
            "file is damaged"
        )
    # imagecodecs counts frames until the data end, even if they end too early. To find
    # out, request one more frame: this raises an error if the last frame is incomplete,
    # and otherwise returns an array without content, which is ignored.
    try:
        imagecodecs.jpegxl_decode(data, index=frame_count)
    except RuntimeError as error:
        raise ReadError(_damage_message(error)) from None
    shape = (header.height, header.width, header.sample_count)
    if header.extra_channels and not header.has_alpha:
        shape = (header.sample_count, header.height, header.width)
    return pixels.reshape(frame_count, *shape).astype(header.dtype, copy=False)


def _damage_message(error: RuntimeError) -> str:
    """Return the message for data that libjxl cannot decode."""
    if "NEED_MORE_INPUT" in str(error) or "frame count" in str(error):
        return "the file ends before its last frame: it is truncated"
    return "libjxl cannot decode the codestream: the file is damaged"


def _describe(pixels: NDArray[Any], header: Header) -> DecodedImage:
    """Return a frame with its layout, bands, alpha and bits."""
    if header.extra_channels and not header.has_alpha:
        decoded = DecodedImage(pixels, "CHW", None)
    elif header.has_alpha:
        decoded = split_alpha(pixels)
        premultiplied = header.extra_channels[0].premultiplied
        decoded = replace(decoded, premultiplied=premultiplied)
    elif header.colour_space == GRAY:
        decoded = gray_or_rgb(pixels[..., 0])
    else:
        decoded = gray_or_rgb(pixels)
    keywords = bits_keyword(header.depth.bits, header.dtype)
    return replace(decoded, source_keywords=keywords)


def _check_supported(header: Header) -> None:
    """Raise ReadError if imagecodecs would return less than the file holds."""
    bits, exponent_bits = header.depth
    # imagecodecs turns wider integers into float32, and libjxl 0.11 decodes subnormal
    # and infinite float16 values wrongly.
    if header.depth != FLOAT32 and (exponent_bits or bits > 16):
        kind = "floating-point" if exponent_bits else "integer"
        raise ReadError(
            "expected integers of at most 16 bits, or float32, got "
            f"{kind} samples of {bits} bits: convert the file to one of these first"
        )
    if header.colour_space not in (RGB, GRAY):
        raise ReadError(
            f"expected gray or RGB, got colour space {header.colour_space}: convert "
            "the file to one of these first"
        )
    if not header.extra_channels or header.has_alpha:
        return
    has_alpha = any(extra.kind == ALPHA for extra in header.extra_channels)
    if header.colour_space != GRAY or has_alpha:
        raise ReadError(
            "expected alpha, or a gray image with other channels, got "
            f"{len(header.extra_channels)} extra channels: only alpha can be read "
            "besides colour, so store the others in a file of their own"
        )
    for extra in header.extra_channels:
        if extra.subsampled or extra.depth != header.depth:
            raise ReadError(
                "expected extra channels of the size and depth of gray: store the "
                "others in a file of their own"
            )


def _find_codestream(data: bytes) -> bytes:
    """Return the codestream, of which a container may hold several parts."""
    if data.startswith(CODESTREAM_SIGNATURE):
        return data
    parts = []
    for box_type, content in iterate_boxes(data):
        if box_type == b"jxlc":
            parts.append(content)
        elif box_type == b"jxlp":
            # The number of the part precedes it.
            parts.append(content[4:])
    codestream = b"".join(parts)
    if not codestream.startswith(CODESTREAM_SIGNATURE):
        raise ReadError("the file has no codestream: it is truncated or damaged")
    return codestream


def _parse_header(codestream: bytes) -> Header:
    """Return the header of a codestream, sections D.2 and D.3."""
    reader = BitReader(codestream)
    header = Header(*_read_size(reader))
    all_default = reader.flag()
    if all_default:
        return header
    has_extra_fields = reader.flag()
    if has_extra_fields:
        header.orientation = reader.bits(3) + 1
        has_intrinsic_size = reader.flag()
        if has_intrinsic_size:
            _read_size(reader)
        has_preview = reader.flag()
        if has_preview:
            _read_preview(reader)
        header.animated = reader.flag()
        if header.animated:
            reader.number(TICKS)
            reader.number(TICK_DIVISORS)
            reader.number(LOOPS)
            reader.flag()  # whether there are time codes
    header.depth = _read_depth(reader)
    reader.flag()  # whether 16 bits suffice to decode it
    extra_count = reader.number(EXTRA_COUNTS)
    header.extra_channels = tuple(_read_extra(reader) for _ in range(extra_count))
    reader.flag()  # whether the colours are stored as XYB
    has_default_colours = reader.flag()
    if not has_default_colours:
        reader.flag()  # whether there is an ICC profile
        header.colour_space = reader.number(ENUMERATION)
    return header


def _read_size(reader: BitReader) -> tuple[int, int]:
    """Read a size header, and return width and height."""
    in_blocks = reader.flag()
    height = _read_length(reader, in_blocks)
    ratio = reader.bits(3)
    if ratio > 0:
        numerator, denominator = ASPECT_RATIOS[ratio]
        return height * numerator // denominator, height
    return _read_length(reader, in_blocks), height


def _read_length(reader: BitReader, in_blocks: bool) -> int:
    """Read a width or height, which may be given in blocks of 8 pixels."""
    if in_blocks:
        return 8 * (reader.bits(5) + 1)
    return reader.number(SIZES)


def _read_preview(reader: BitReader) -> None:
    """Skip the size of a preview."""
    sizes = PREVIEW_BLOCKS if reader.flag() else PREVIEW_SIZES
    reader.number(sizes)
    ratio = reader.bits(3)
    if ratio == 0:
        reader.number(sizes)


def _read_depth(reader: BitReader) -> Depth:
    """Read the depth of samples."""
    is_float = reader.flag()
    if is_float:
        bits = reader.number(FLOAT_BITS)
        return Depth(bits, reader.bits(4) + 1)
    return Depth(reader.number(INTEGER_BITS), 0)


def _read_extra(reader: BitReader) -> ExtraChannel:
    """Read the description of an extra channel."""
    all_default = reader.flag()
    if all_default:
        return ExtraChannel(ALPHA, EIGHT_BITS, subsampled=False, premultiplied=False)
    kind = reader.number(ENUMERATION)
    depth = _read_depth(reader)
    subsampled = reader.number(DIMENSION_SHIFTS) > 0
    for _ in range(reader.number(NAME_LENGTHS)):
        reader.bits(8)
    premultiplied = kind == ALPHA and reader.flag()
    if kind == SPOT_COLOUR:
        reader.bits(32)  # red and green
        reader.bits(32)  # blue and solidity
    elif kind == COLOUR_FILTER_ARRAY:
        reader.number(CFA_CHANNELS)
    return ExtraChannel(kind, depth, subsampled, premultiplied)
