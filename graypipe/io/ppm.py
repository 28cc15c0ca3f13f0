"""Read PBM, PGM, PPM and PFM files without rescaling.

Pillow rescales values to 255 or 65535 if the header declares another maximum. Such
files are therefore decoded here if they are binary, and rejected if they are text.
"""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ReadError
from .decoded import DecodedImage

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Pillow's mode -> bits per pixel in a file that Pillow does not rescale.
BITS_PER_PIXEL = {"1": 1, "L": 8, "I": 16, "RGB": 24, "F": 32}

# Pillow's mode -> maximum to which Pillow rescales.
PILLOW_MAXIMUM = {"L": 255, "RGB": 255, "I": 65535}


def scaled_maximum(image: "ImageFile") -> int | None:
    """Return the maximum of a binary file that Pillow would rescale, else None."""
    # Pillow has a decoder of this name for such files, with the maximum as an argument.
    decoder, _, _, arguments = image.tile[0]
    if decoder == "ppm" and isinstance(arguments, tuple):
        return int(arguments[-1])
    return None


def sample_dtype(maximum: int) -> np.dtype[Any]:
    """Return the dtype of samples up to ``maximum``."""
    if maximum > 255:
        return np.dtype(np.uint16)
    return np.dtype(np.uint8)


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
        If the file is smaller or larger than one image, the mode is not supported, or
        the file is plain text that Pillow would rescale.
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
                f"the file is plain text with a maximum level of {arguments[-1]} that "
                "Pillow would rescale: write it as binary (P5, P6)"
            )
        return
    # Pillow ignores trailing data, which may be further images, and only some of its
    # decoders report a file that is too short.
    maximum = scaled_maximum(image)
    if decoder == "raw":
        bytes_per_row = (image.width * BITS_PER_PIXEL[image.mode] + 7) // 8
    else:
        samples_per_row = prod(_shape(image)[1:])
        bytes_per_row = samples_per_row * sample_dtype(maximum or 0).itemsize
    expected_size = data_offset + bytes_per_row * image.height
    if file_size != expected_size:
        raise ReadError(
            f"the header implies a file of {expected_size} bytes, got {file_size}: the "
            "file is damaged or contains more than one image"
        )


def decode_unscaled(image: "ImageFile", data: bytes, maximum: int) -> DecodedImage:
    """Decode a binary file without rescaling.

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
        If a pixel value exceeds ``maximum``, so that the file must be damaged.
    """
    shape = _shape(image)
    dtype = sample_dtype(maximum)
    stored_dtype = dtype.newbyteorder(">")
    samples = np.frombuffer(data, stored_dtype, prod(shape), image.tile[0].offset)
    samples = samples.reshape(shape).astype(dtype)
    largest_value = int(samples.max())
    if largest_value > maximum:
        raise ReadError(
            f"a pixel value of {largest_value} exceeds the maximum of {maximum} in the "
            "header: the file is damaged"
        )
    source_keywords: dict[str, Any] = {}
    bits = maximum.bit_length()
    # The dtype already implies a range up to its own maximum.
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
