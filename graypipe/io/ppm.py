"""Read PBM, PGM, PPM and PFM files without rescaling.

Pillow parses the headers, and decodes files of 1 bit and floats. It rescales integers
to 255 or 65535 if the header declares another maximum, so these are decoded here.
"""

import re
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import DecodedImage, gray_or_rgb

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Pillow's modes of these formats, and the bits per pixel of a file that Pillow decodes.
MODES = ("1", "L", "I", "RGB", "F")
BITS_PER_PIXEL = {"1": 1, "F": 32}

# Pillow's decoders that rescale and take the maximum as an argument: for binary files,
# and for plain text.
RESCALING_DECODERS = ("ppm", "ppm_plain")

# The argument of Pillow's raw decoder -> the maximum in the header.
RAW_MAXIMUM = {"L": 255, "RGB": 255, "I;16B": 65535}

# What may follow the pixels of a binary file. Further data may be another image.
FINAL_NEWLINES = (b"", b"\n", b"\r\n")

# A comment in plain text.
COMMENT = re.compile(rb"#[^\r\n]*")

# Maximum length of a number in plain text, with leading zeros. Pillow's is the same.
MAX_DIGITS = 10


def declared_maximum(image: "ImageFile") -> int | None:
    """Return the maximum in the header, None for files of 1 bit and floats."""
    decoder, _, _, arguments = image.tile[0]
    if isinstance(arguments, str):
        return RAW_MAXIMUM.get(arguments)
    if decoder in RESCALING_DECODERS and arguments is not None:
        return int(arguments[-1])
    return None


def sample_dtype(maximum: int) -> np.dtype[Any]:
    """Return the dtype of samples up to ``maximum``."""
    if maximum > 255:
        return np.dtype(np.uint16)
    return np.dtype(np.uint8)


def check_ppm(image: "ImageFile", data: bytes) -> None:
    """Check a file that Pillow has opened.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, but not loaded.
    data : bytes
        The whole file.

    Raises
    ------
    ReadError
        If the file is smaller or larger than one image, or the mode is not supported.
    """
    if image.mode not in MODES:
        raise ReadError(
            f"expected gray or RGB, got a PPM of mode {image.mode!r}: convert it first"
        )
    decoder, _, data_offset, _ = image.tile[0]
    if decoder == "ppm_plain":
        # Text has no fixed size: its numbers are counted when it is decoded.
        return
    # Pillow ignores trailing data, and only some of its decoders report a file that is
    # too short.
    maximum = declared_maximum(image)
    if maximum is None:
        bytes_per_row = (image.width * BITS_PER_PIXEL[image.mode] + 7) // 8
    else:
        bytes_per_row = prod(_shape(image)[1:]) * sample_dtype(maximum).itemsize
    expected_size = data_offset + bytes_per_row * image.height
    if len(data) < expected_size or data[expected_size:] not in FINAL_NEWLINES:
        raise ReadError(
            f"the header implies a file of {expected_size} bytes, got {len(data)}: the "
            "file is damaged or contains more than one image"
        )


def decode_unscaled(image: "ImageFile", data: bytes, maximum: int) -> DecodedImage:
    """Decode a file without rescaling.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        The opened file; gives the size and the data offset.
    data : bytes
        The whole file.
    maximum : int
        The maximum declared in the header, which becomes the range of the source.

    Raises
    ------
    ReadError
        If a pixel value exceeds ``maximum``, or plain text does not consist of as many
        numbers as the image has samples.
    """
    shape = _shape(image)
    dtype = sample_dtype(maximum)
    decoder, _, data_offset, _ = image.tile[0]
    if decoder == "ppm_plain":
        samples = _parse_numbers(data[data_offset:], prod(shape))
    else:
        stored_dtype = dtype.newbyteorder(">")
        samples = np.frombuffer(data, stored_dtype, prod(shape), data_offset)
    # The dtype already implies a range up to its own maximum.
    fills_dtype = maximum == np.iinfo(dtype).max
    if decoder == "ppm_plain" or not fills_dtype:
        _check_maximum(samples, maximum)
    samples = samples.reshape(shape).astype(dtype)
    source_keywords: dict[str, Any] = {}
    bits = maximum.bit_length()
    if not fills_dtype:
        if maximum == 2**bits - 1:
            source_keywords["bits"] = bits
        else:
            source_keywords["range"] = (0.0, float(maximum))
    return gray_or_rgb(samples, source_keywords=source_keywords)


def _check_maximum(samples: NDArray[Any], maximum: int) -> None:
    """Raise ReadError if a sample exceeds the maximum in the header."""
    largest_value = int(samples.max())
    if largest_value > maximum:
        raise ReadError(
            f"a pixel value of {largest_value} exceeds the maximum of {maximum} in the "
            "header: the file is damaged"
        )


def _parse_numbers(text: bytes, count: int) -> NDArray[np.int64]:
    """Return the numbers of plain text."""
    numbers = COMMENT.sub(b"", text).split()
    if len(numbers) != count:
        raise ReadError(
            f"the header implies {count} numbers, got {len(numbers)}: the file is "
            "damaged or contains more than one image"
        )
    # int() also accepts signs and underscores, which the format does not allow.
    if not b"".join(numbers).isdigit() or max(map(len, numbers)) > MAX_DIGITS:
        raise ReadError(
            "expected decimal numbers, got other characters or too many digits: the "
            "file is damaged"
        )
    return np.fromiter(map(int, numbers), np.int64, count)


def _shape(image: "ImageFile") -> tuple[int, ...]:
    """Return the shape of the image as an array."""
    if image.mode == "RGB":
        return image.height, image.width, 3
    return image.height, image.width
