"""Decode GIF, BMP, WebP and PPM with Pillow.

`PIL.Image.open` is not used, because it may emit warnings, and suppressing them is not
thread-safe. Opening a file with Pillow's class for its format does not warn.
"""

from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from .decoded import (
    DecodedImage,
    Request,
    apply_palette,
    check_size,
    choose_frame,
    decode_frames,
    is_gray_palette,
    split_alpha,
)
from .exif import parse_orientation
from .gif import check_gif
from .ppm import check_ppm, decode_unscaled, sample_dtype, scaled_maximum

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# First bytes of a file -> Pillow's module and class.
PILLOW_CLASSES = {
    b"GIF8": ("GifImagePlugin", "GifImageFile"),
    b"BM": ("BmpImagePlugin", "BmpImageFile"),
    b"RIFF": ("WebPImagePlugin", "WebPImageFile"),
    b"P": ("PpmImagePlugin", "PpmImageFile"),
}

# Pillow's modes -> bands. Palettes ("P") are gray or RGB, depending on their colours.
MODES = {
    "1": "gray",
    "L": "gray",
    "LA": "gray",
    "I;16": "gray",
    "F": "gray",
    "RGB": "RGB",
    "RGBA": "RGB",
}

# The dtype of a mode, if it is not uint8.
DTYPES = {"1": "bool", "I;16": "uint16", "F": "float32"}


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a GIF, BMP, WebP or PPM file; see `graypipe.io.facts`."""
    with _open(file.read()) as image:
        # Mode "I" has 32 bits, but the only format here that uses it is 16-bit PGM.
        mode = "I;16" if image.mode == "I" else image.mode
        if mode == "P":
            is_gray = is_gray_palette(_palette(image))
        else:
            is_gray = MODES[mode] == "gray"
        dtype = DTYPES.get(mode, "uint8")
        if image.format == "PPM":
            maximum = scaled_maximum(image)
            if maximum is not None:
                dtype = sample_dtype(maximum).name
        return {
            "format": str(image.format).replace("WEBP", "WebP"),
            "mode": mode,
            "width": image.width,
            "height": image.height,
            "frames": _frame_count(image),
            "bands": 1 if is_gray else 3,
            "dtype": dtype,
            "alpha": mode in ("LA", "RGBA") or "transparency" in image.info,
            "orientation": _orientation(image),
        }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one frame of a GIF, BMP, WebP or PPM file.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        What to read.

    Returns
    -------
    DecodedImage
        RGB for a GIF with several frames, because each may have its own palette.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, its mode is not supported, or
        the frame is not valid.
    """
    data = file.read()
    with _open(data) as image:
        check_size(image.width * image.height * len(image.getbands()), len(data))
        if image.format == "PPM":
            maximum = scaled_maximum(image)
            if maximum is not None:
                choose_frame(request.frame, 1)
                return decode_unscaled(image, data, maximum)
        frame_count = _frame_count(image)

        def decode_frame(number: int) -> DecodedImage:
            image.seek(number)
            image.load()
            if frame_count == 1 or image.mode != "P":
                return from_pillow(image)
            mode = "RGBA" if image.has_transparency_data else "RGB"
            return from_pillow(image.convert(mode))

        decoded = decode_frames(request.frame, frame_count, decode_frame)
        return replace(decoded, orientation=_orientation(image))


def _open(data: bytes) -> "ImageFile":
    """Check a file and open it with Pillow, without loading the pixels."""
    if data.startswith(b"RIFF") and data[8:12] != b"WEBP":
        raise ReadError(
            f"expected a WebP image, got a RIFF file of type {data[8:12]!r}, which may "
            "contain sound or video"
        )
    if data.startswith(b"GIF8"):
        check_gif(data)
    image: ImageFile = _pillow_class(data)(BytesIO(data))
    if image.format == "PPM":
        check_ppm(image, len(data))
    return image


def _pillow_class(data: bytes) -> Any:
    """Return Pillow's class for a file, by its first bytes."""
    for magic, (module_name, class_name) in PILLOW_CLASSES.items():
        if data.startswith(magic):
            return getattr(import_module(f"PIL.{module_name}"), class_name)
    raise ReadError(f"expected GIF, BMP, WebP or PPM, got {data[:8]!r}")


def _frame_count(image: "ImageFile") -> int:
    """Return the number of frames, which is 1 for formats without ``n_frames``."""
    return int(getattr(image, "n_frames", 1))


def _orientation(image: "ImageFile") -> int | None:
    """Return the orientation recorded in EXIF or XMP."""
    return parse_orientation(image.info.get("exif"), image.info.get("xmp"))


def from_pillow(image: Any) -> DecodedImage:
    """Convert a Pillow image without loss.

    Parameters
    ----------
    image : PIL.Image.Image
        Gray, RGB or a palette, with or without alpha.

    Raises
    ------
    ReadError
        If the mode is not supported, or a palette index is out of range.
    """
    pixels = np.array(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    # The palette index or gray level whose pixels are transparent.
    transparent_value = image.info.get("transparency")
    if image.mode == "P":
        palette_alpha = None
        if transparent_value is not None:
            palette_alpha = _alpha_of_value(np.arange(256), transparent_value)
        return apply_palette(pixels, _palette(image), palette_alpha)
    if image.mode == "I":
        # Pillow's mode for 16-bit PGM files. 32-bit files are rejected earlier.
        return DecodedImage(pixels.astype(np.uint16), "HW", "gray")
    if image.mode not in MODES:
        raise ReadError(
            f"expected gray or RGB, got mode {image.mode!r}: convert it first"
        )
    if image.mode in ("LA", "RGBA"):
        return split_alpha(pixels)
    alpha = None
    if transparent_value is not None:
        alpha = _alpha_of_value(pixels, transparent_value)
    layout = "HW" if pixels.ndim == 2 else "HWC"
    return DecodedImage(pixels, layout, MODES[image.mode], alpha)


def _alpha_of_value(values: NDArray[Any], transparent: Any) -> NDArray[np.uint8]:
    """Return alpha that is 0 where ``values`` are ``transparent``, else 255."""
    return np.where(values == transparent, 0, 255).astype(np.uint8)


def _palette(image: "ImageFile") -> NDArray[np.uint8]:
    """Return the palette, shape (n, 3)."""
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
