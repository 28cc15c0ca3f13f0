"""PBM, PGM, PPM and PFM files with the levels that they store.

Pillow scales levels to 255 or 65535 if the header states another maximum. Binary files
are therefore read here without scaling, and plain text files are refused.
"""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ReadError
from .decoded import DecodedImage

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Bits per pixel in the file, by Pillow's mode, where Pillow does not scale.
BITS_PER_PIXEL = {"1": 1, "L": 8, "I": 16, "RGB": 24, "F": 32}

# The maximum levels that Pillow scales to, by its mode.
PILLOW_MAXIMUM = {"L": 255, "RGB": 255, "I": 65535}


def scaled_maximum(image: "ImageFile") -> int | None:
    """Return the maximum level of a binary file that Pillow would scale, else None."""
    # Pillow has a decoder of this name for such files, with the maximum as an argument.
    decoder, _, _, arguments = image.tile[0]
    if decoder == "ppm" and isinstance(arguments, tuple):
        return int(arguments[-1])
    return None


def sample_dtype(maximum: int) -> np.dtype[Any]:
    """Return the dtype of samples up to `maximum`."""
    return np.dtype(np.uint16 if maximum > 255 else np.uint8)


def check_ppm(image: "ImageFile", file_size: int) -> None:
    """Check a file that Pillow has opened.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, but not loaded.
    file_size : int
        Size of the file in bytes.

    Raises
    ------
    ReadError
        If the size is not that of exactly one image, the mode is unsupported, or the
        file is plain text whose levels Pillow would scale.
    """
    if image.mode not in BITS_PER_PIXEL:
        raise ReadError(
            f"expected gray or RGB, got a PPM of mode {image.mode!r}: convert it first"
        )
    decoder, _, data_offset, arguments = image.tile[0]
    if decoder == "ppm_plain":
        # Text has no fixed size. Pillow itself raises if numbers are missing.
        maximum = PILLOW_MAXIMUM.get(image.mode)
        if isinstance(arguments, tuple) and arguments[-1] != maximum:
            raise ReadError(
                f"the file is plain text with a maximum level of {arguments[-1]}, "
                f"which Pillow would scale: write it as binary (P5, P6)"
            )
        return
    # Pillow ignores what follows the image, which may be further images, and reports a
    # file that is too short only for some of its decoders.
    maximum = scaled_maximum(image)
    if decoder == "raw":
        bytes_per_row = (image.width * BITS_PER_PIXEL[image.mode] + 7) // 8
    else:
        samples_per_row = prod(_shape(image)[1:])
        bytes_per_row = samples_per_row * sample_dtype(maximum or 0).itemsize
    expected_size = data_offset + bytes_per_row * image.height
    if file_size != expected_size:
        raise ReadError(
            f"the header implies a file of {expected_size} bytes, got {file_size}: it "
            f"is damaged, or holds more than one image"
        )


def decode_unscaled(image: "ImageFile", data: bytes, maximum: int) -> DecodedImage:
    """Return the levels of a binary file without scaling.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        The opened file, which tells the size and where the samples start.
    data : bytes
        The whole file.
    maximum : int
        The maximum level that the header states, which becomes the range of the source.

    Raises
    ------
    ReadError
        If a pixel exceeds `maximum`, which means damage.
    """
    shape = _shape(image)
    dtype = sample_dtype(maximum)
    stored_dtype = dtype.newbyteorder(">")
    samples = np.frombuffer(data, stored_dtype, prod(shape), image.tile[0].offset)
    samples = samples.reshape(shape).astype(dtype)
    largest_level = int(samples.max())
    if largest_level > maximum:
        raise ReadError(
            f"a pixel has {largest_level}, the header says {maximum} at most: the file "
            f"is damaged"
        )
    source_keywords: dict[str, Any] = {}
    bits = maximum.bit_length()
    # A maximum that fills the dtype is what the dtype implies anyway.
    if maximum != np.iinfo(dtype).max:
        if maximum == 2**bits - 1:
            source_keywords["bits"] = bits
        else:
            source_keywords["range"] = (0.0, float(maximum))
    if samples.ndim == 2:
        layout, bands = "HW", "gray"
    else:
        layout, bands = "HWC", "RGB"
    return DecodedImage(samples, layout, bands, source_keywords=source_keywords)


def _shape(image: "ImageFile") -> tuple[int, ...]:
    """Return the shape of the image as an array."""
    if image.mode == "RGB":
        return image.height, image.width, 3
    return image.height, image.width
