"""Decode BMP files whose samples are bit fields, with NumPy.

Pillow drops the alpha of 16-bit files, and refuses all but a few masks. The structures
are BITMAPFILEHEADER and BITMAPINFOHEADER to BITMAPV5HEADER of the Windows API.
"""

import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import DecodedImage, bits_keyword, check_size, gray_or_rgb, split_alpha

# Values of the field biCompression for files with masks: of three samples, and of four.
BITFIELDS = 3
ALPHA_BITFIELDS = 6

# Sizes of Windows headers. Those of OS/2 have other sizes, and 3 means Huffman coding.
HEADER_SIZES = (40, 52, 56, 108, 124)

# The smallest header with a mask for alpha.
HEADER_SIZE_WITH_ALPHA = 56

# Offset of the masks in all files: inside a header of 52 bytes or more, and after one
# of 40.
MASKS_OFFSET = 54


@dataclass(frozen=True)
class BitFields:
    """The header of a BMP file with masks.

    Parameters
    ----------
    width, height : int
    is_top_down : bool
        Whether the first row of the file is the uppermost.
    bits : {16, 32}
        Bits per pixel.
    offset : int
        Offset of the pixels.
    masks : tuple of int
        The bits of red, green, blue and, if there is any, alpha.
    """

    width: int
    height: int
    is_top_down: bool
    bits: int
    offset: int
    masks: tuple[int, ...]

    @property
    def has_alpha(self) -> bool:
        """Whether there is a mask for alpha."""
        return len(self.masks) == 4

    @property
    def depth(self) -> int:
        """Bits of a decoded sample: 8, or those of the widest mask if it has more."""
        return max(8, *(mask.bit_count() for mask in self.masks))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the decoded samples."""
        return np.dtype(np.uint8 if self.depth == 8 else np.uint16)


def parse_bit_fields(data: bytes) -> BitFields | None:
    """Return the header of a BMP file with masks, or None for any other file.

    Raises
    ------
    ReadError
        If the header is damaged, or the file is smaller than the header says.
    """
    if not data.startswith(b"BM"):
        return None
    try:
        offset, header_size, width, height, _, bits, compression = struct.unpack_from(
            "<10xIIiiHHI", data
        )
        has_masks = compression in (BITFIELDS, ALPHA_BITFIELDS) and bits in (16, 32)
        if header_size not in HEADER_SIZES or not has_masks:
            return None
        masks = struct.unpack_from("<4I", data, MASKS_OFFSET)
    except struct.error:
        raise ReadError("the BMP file ends in its header: it is truncated") from None
    if not any(masks[:3]):
        return None  # Pillow has defaults for files in which all masks are 0.
    stores_alpha = (
        header_size >= HEADER_SIZE_WITH_ALPHA or compression == ALPHA_BITFIELDS
    )
    if not stores_alpha or masks[3] == 0:
        masks = masks[:3]
    _check_masks(masks, bits)
    fields = BitFields(width, abs(height), height < 0, bits, offset, masks)
    expected_size = offset + _row_size(fields) * fields.height
    is_invalid = width <= 0 or height == 0 or offset < MASKS_OFFSET
    if is_invalid or len(data) < expected_size:
        raise ReadError(
            f"the header implies {width} x {height} pixels that end at byte "
            f"{expected_size}, got a file of {len(data)} bytes: it is truncated or "
            "damaged"
        )
    return fields


def decode_bit_fields(data: bytes, fields: BitFields) -> DecodedImage:
    """Decode a BMP file with masks, with all levels of its samples.

    Samples of fewer than 8 bits are scaled to 8 bits as Pillow does: n-bit values v
    become v * 255 // (2**n - 1), so that different levels remain different. If a sample
    has more than 8 bits, all are scaled to the bits of the widest.
    """
    check_size(fields.width * fields.height * len(fields.masks), len(data))
    row_length = _row_size(fields) * 8 // fields.bits
    pixels: NDArray[Any] = np.frombuffer(
        data, f"<u{fields.bits // 8}", row_length * fields.height, fields.offset
    )
    pixels = pixels.reshape(fields.height, row_length)[:, : fields.width]
    if not fields.is_top_down:
        pixels = pixels[::-1]
    highest_level = 2**fields.depth - 1
    shape = (fields.height, fields.width, len(fields.masks))
    samples = np.empty(shape, fields.dtype)
    for number, mask in enumerate(fields.masks):
        lowest_bit = (mask & -mask).bit_length() - 1
        # 32 bits hold the product of two samples, which have 16 bits at most.
        levels = ((pixels & mask) >> lowest_bit).astype(np.uint32)
        samples[..., number] = levels * highest_level // (2 ** mask.bit_count() - 1)
    decoded = split_alpha(samples) if fields.has_alpha else gray_or_rgb(samples)
    return replace(decoded, source_keywords=bits_keyword(fields.depth, fields.dtype))


def _row_size(fields: BitFields) -> int:
    """Return the bytes of a row, which is padded to a multiple of 4."""
    return (fields.width * fields.bits + 31) // 32 * 4


def _check_masks(masks: tuple[int, ...], bits: int) -> None:
    """Raise ReadError unless each mask is a run of bits, apart from all others."""
    used = 0
    for mask in masks:
        count = mask.bit_count()
        run = (1 << count) - 1
        lowest_bit = mask & -mask
        is_run = mask == run * lowest_bit
        if not is_run or not 1 <= count <= 16 or mask & used or mask >> bits:
            raise ReadError(
                "expected masks of 1 to 16 adjacent bits that do not overlap, got "
                f"{[hex(mask) for mask in masks]}: the file is damaged, or not RGB"
            )
        used |= mask
