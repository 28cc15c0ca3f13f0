"""Decode GIF, BMP, WebP and PPM with Pillow.

`PIL.Image.open` is not used, because it may emit warnings, and suppressing them is not
thread-safe. Opening a file with Pillow's class for its format does not warn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import GraypipeError, ReadError
from .bmp import BitFields, decode_bit_fields, parse_bit_fields
from .decoded import (
    ALL_FRAMES,
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
from .gif import GifBlocks, parse_gif, with_transparent_screen
from .ppm import check_ppm, declared_maximum, decode_unscaled, sample_dtype

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# First bytes of a file -> Pillow's module and class.
PILLOW_CLASSES = {
    b"GIF8": ("GifImagePlugin", "GifImageFile"),
    b"BM": ("BmpImagePlugin", "BmpImageFile"),
    b"RIFF": ("WebPImagePlugin", "WebPImageFile"),
    b"P": ("PpmImagePlugin", "PpmImageFile"),
}

# Pillow's class -> name of the format in messages.
FORMAT_NAMES = {
    "GifImageFile": "GIF",
    "BmpImageFile": "BMP",
    "WebPImageFile": "WebP",
    "PpmImageFile": "PPM",
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
    data = file.read()
    fields = parse_bit_fields(data)
    if fields is not None:
        return _facts_of_bit_fields(fields)
    blocks = parse_gif(data) if data.startswith(b"GIF8") else None
    with _open(data) as image:
        # Mode "I" has 32 bits, but the only format here that uses it is 16-bit PGM.
        mode = "I;16" if image.mode == "I" else image.mode
        dtype = DTYPES.get(mode, "uint8")
        if image.format == "PPM":
            maximum = declared_maximum(image)
            if maximum is not None:
                dtype = sample_dtype(maximum).name
        has_alpha = mode in ("LA", "RGBA") or "transparency" in image.info
        if blocks is None:
            frame_count = _frame_count(image)
        else:
            frame_count = blocks.frame_count
            has_alpha = has_alpha or not blocks.covers_screen
        return {
            "format": str(image.format).replace("WEBP", "WebP"),
            "mode": mode,
            "width": image.width,
            "height": image.height,
            "frames": frame_count,
            "bands": 1 if _is_gray(image, mode, blocks) else 3,
            "dtype": dtype,
            "alpha": has_alpha,
            "orientation": _orientation(image),
        }


def _is_gray(image: "ImageFile", mode: str, blocks: GifBlocks | None) -> bool:
    """Return whether all frames of a file are gray; ``blocks`` are those of a GIF."""
    if blocks is not None and blocks.frame_count > 1:
        return blocks.is_gray
    if mode == "P":
        return is_gray_palette(_palette(image))
    return MODES[mode] == "gray"


def _facts_of_bit_fields(fields: BitFields) -> dict[str, Any]:
    """Describe a BMP file with masks."""
    return {
        "format": "BMP",
        "mode": "RGBA" if fields.has_alpha else "RGB",
        "width": fields.width,
        "height": fields.height,
        "frames": 1,
        "bands": 3,
        "dtype": fields.dtype.name,
        "alpha": fields.has_alpha,
        "orientation": 1,
    }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode the requested frames of a GIF, BMP, WebP or PPM file.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        What to read.

    Returns
    -------
    DecodedImage
        The frames of a GIF with several are gray if all its colours are, otherwise
        RGB, because each frame may have its own palette.

    Raises
    ------
    ReadError
        If the file is damaged, truncated or too large, its mode is not supported, or
        the frame is not valid.
    """
    data = file.read()
    if data.startswith(b"GIF8"):
        return _decode_gif(data, request.frame)
    fields = parse_bit_fields(data)
    if fields is not None:
        return decode_frames(
            request.frame, 1, lambda _: decode_bit_fields(data, fields)
        )
    with _open(data) as image:
        frame_count = _frame_count(image)
        _check_size(image, data, request.frame, frame_count)
        maximum = None
        if image.format == "PPM":
            maximum = declared_maximum(image)

        def decode_frame(number: int) -> DecodedImage:
            if maximum is not None:
                return decode_unscaled(image, data, maximum)
            image.seek(number)
            return from_pillow(image)

        decoded = decode_frames(request.frame, frame_count, decode_frame)
        return replace(decoded, orientation=_orientation(image))


def _decode_gif(data: bytes, frame: object) -> DecodedImage:
    """Decode the requested frames of a GIF file."""
    blocks = parse_gif(data)
    if blocks.frame_count > 1:
        with _open(with_transparent_screen(data, blocks)) as image:
            _check_size(image, data, frame, blocks.frame_count)

            def decode_frame(number: int) -> DecodedImage:
                # Frame 0 is the transparent one.
                image.seek(number + 1)
                decoded = from_pillow(image)
                if not blocks.is_gray:
                    return decoded
                gray = np.ascontiguousarray(decoded.image[..., 0])
                return replace(decoded, image=gray, layout="HW", bands="gray")

            return decode_frames(frame, blocks.frame_count, decode_frame)
    with _open(data) as image:
        _check_size(image, data, frame, 1)
        return decode_frames(
            frame, 1, lambda _: _clear_uncovered(from_pillow(image), blocks)
        )


def _clear_uncovered(decoded: DecodedImage, blocks: GifBlocks) -> DecodedImage:
    """Return an image that is transparent where its only frame does not cover it."""
    if blocks.covers_screen:
        return decoded
    left, top, width, height = blocks.first_frame
    rectangle = np.s_[top : top + height, left : left + width]
    alpha = np.zeros(decoded.image.shape[:2], np.uint8)
    alpha[rectangle] = 255 if decoded.alpha is None else decoded.alpha[rectangle]
    return replace(decoded, alpha=alpha)


def _check_size(image: "ImageFile", data: bytes, frame: object, count: int) -> None:
    """Raise ReadError if a small file declares a huge image or stack."""
    decoded_frames = count if frame == ALL_FRAMES else 1
    frame_size = image.width * image.height * len(image.getbands())
    check_size(decoded_frames * frame_size, len(data))


@contextmanager
def _open(data: bytes) -> "Iterator[ImageFile]":
    """Open a file with Pillow, without loading the pixels.

    Errors of Pillow, also inside the ``with`` block, become a ReadError.
    """
    if data.startswith(b"RIFF") and data[8:12] != b"WEBP":
        raise ReadError(
            f"expected a WebP image, got a RIFF file of type {data[8:12]!r}, which may "
            "contain sound or video"
        )
    # Imported only for its class of errors.
    from PIL import Image

    pillow_class = _pillow_class(data)
    try:
        with pillow_class(BytesIO(data)) as image:
            if image.format == "PPM":
                check_ppm(image, data)
            elif image.format == "BMP":
                _check_bmp_size(image, data)
            yield image
    except GraypipeError:
        raise
    except Image.DecompressionBombError:
        raise ReadError(
            f"the header declares more than twice the {Image.MAX_IMAGE_PIXELS} pixels "
            "that PIL.Image.MAX_IMAGE_PIXELS allows: the file is damaged or a "
            "decompression bomb. If you trust it, raise that limit (on the command "
            "line: --max-pixels)"
        ) from None
    except Exception as error:
        # Pillow raises errors of many types, whose messages describe its own code.
        name = FORMAT_NAMES[pillow_class.__name__]
        raise ReadError(
            f"Pillow cannot decode this {name} file, which is damaged, truncated or of "
            "a rare variant: if another program shows it, save it as PNG there"
        ) from error


def _check_bmp_size(image: "ImageFile", data: bytes) -> None:
    """Raise ReadError if an uncompressed BMP file is too short.

    Pillow also notices it, but only after it has written to the memory of the whole
    image.
    """
    decoder, _, offset, arguments = image.tile[0]
    if decoder != "raw" or not isinstance(arguments, tuple):
        return
    row_size = arguments[1]
    # The padding of the last row, up to 3 bytes, may be missing.
    required_size = offset + row_size * image.height - 3
    if len(data) < required_size:
        raise ReadError(
            f"the header implies {image.width} x {image.height} pixels that end at "
            f"byte {required_size + 3}, got a file of {len(data)} bytes: it is "
            "truncated or damaged"
        )


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
        return gray_or_rgb(pixels.astype(np.uint16))
    if image.mode not in MODES:
        raise ReadError(
            f"expected gray or RGB, got mode {image.mode!r}: convert it first"
        )
    if image.mode in ("LA", "RGBA"):
        return split_alpha(pixels)
    alpha = None
    if transparent_value is not None:
        alpha = _alpha_of_value(pixels, transparent_value)
    return gray_or_rgb(pixels, alpha=alpha)


def _alpha_of_value(values: NDArray[Any], transparent: Any) -> NDArray[np.uint8]:
    """Return alpha that is 0 where ``values`` are ``transparent``, else 255."""
    return np.where(values == transparent, 0, 255).astype(np.uint8)


def _palette(image: "ImageFile") -> NDArray[np.uint8]:
    """Return the palette, shape (n, 3)."""
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
