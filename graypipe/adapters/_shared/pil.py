"""Read the pixels of PIL images: every level, and the names of the bands.

Pillow silently reduces what its modes cannot hold: it cuts 16-bit colour to 8 bits,
wraps signed or wide integers, inverts some files and not others. An image that still
knows the file it comes from tells enough to detect this, so such images are checked
against a list of what Pillow is known to decode without loss.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as Tag
from PIL.Image import Image

from ...bands import parse_bands
from ...errors import ChannelError, DTypeError, ReadError
from ...io.pillow_formats import MODES, from_pillow

# Formats of Pillow whose files never hold more than 8 bits per band.
EIGHT_BIT_FORMATS = ("BMP", "GIF", "JPEG", "MPO", "QOI", "TGA", "WEBP")


class TiffSamples(NamedTuple):
    """Tag values of TIFF files that Pillow decodes into one mode without loss."""

    photometric: tuple[int, ...]
    bits: tuple[int, ...]
    sample_format: int


# By mode of Pillow. PhotometricInterpretation: 0 white is zero, 1 black is zero, 2 RGB,
# 3 palette, 6 YCbCr. SampleFormat: 1 unsigned, 2 signed, 3 floating.
TIFF_SAMPLES = {
    # Pillow inverts images where white is zero, except for those of 16 bits and more.
    "1": TiffSamples((0, 1), (1,), 1),
    "L": TiffSamples((0, 1, 6), (2, 4, 8), 1),
    "LA": TiffSamples((1,), (8,), 1),
    "P": TiffSamples((3,), (1, 2, 4, 8), 1),
    "PA": TiffSamples((3,), (8,), 1),
    "RGB": TiffSamples((2, 6), (8,), 1),
    "RGBA": TiffSamples((2,), (8,), 1),
    "I;16": TiffSamples((1,), (16,), 1),
    "I;16B": TiffSamples((1,), (16,), 1),
    # Pillow reads unsigned 32-bit values as signed ones, so only signed ones are here.
    "I": TiffSamples((1,), (16, 32), 2),
    "F": TiffSamples((1,), (32,), 3),
}

# Tags that the error message about a TIFF shows.
TIFF_TAGS_SHOWN = (
    Tag.PhotometricInterpretation,
    Tag.BitsPerSample,
    Tag.SampleFormat,
    Tag.SamplesPerPixel,
    Tag.ExtraSamples,
    Tag.Orientation,
)


def check_file(picture: Image) -> None:
    """Check that Pillow hands over all that the file of ``picture`` holds.

    Only images straight from a file can be checked: a copy, a crop or any other
    computed image does not know its file, and passes. Of PNG and PPM files, Pillow
    keeps the bit depth only until `PIL.Image.Image.load`.

    Raises
    ------
    DTypeError
        If levels of the file are lost, or could be without being noticed.
    ReadError
        If the file holds several images.
    """
    if picture.format is None:
        return
    if picture.format == "TIFF":
        _check_tiff(picture)
    elif picture.format in ("PNG", "PPM"):
        _check_png_or_ppm(picture)
    elif picture.format not in EIGHT_BIT_FORMATS:
        raise DTypeError(
            f"Pillow does not tell how many bits a file of the format "
            f"{picture.format} has, and cuts or wraps those over 8: decode it with a "
            f"library that keeps them, such as imagecodecs, and pass the array, or "
            f"pass picture.copy() if you know that it has 8"
        )
    _check_single(picture)


def _check_single(picture: Image) -> None:
    """Raise ReadError if the file of ``picture`` holds several images."""
    # A GIF counts its frames by reading on, which fails once its file is closed.
    if picture.format == "GIF" and not getattr(picture, "fp", None):
        return
    if getattr(picture, "is_animated", False):
        raise ReadError(
            f"the {picture.format} file holds several pictures, of which Pillow shows "
            f"number {picture.tell()}: choose one with gp.read(path, frame=0), or "
            f"with picture.seek(0), and pass picture.copy()"
        )


def _check_tiff(picture: Image) -> None:
    """Raise DTypeError unless Pillow decodes the TIFF without loss."""
    # Pickling drops the tags. The defaults of TIFF, which then apply, are 1-bit pixels.
    tags = vars(picture).get("tag_v2", {})
    if _is_lossless_tiff(picture, tags):
        return
    shown = [f"{tag.name} {tags[tag]}" for tag in TIFF_TAGS_SHOWN if tag in tags]
    raise DTypeError(
        f"Pillow does not hand over this TIFF as it is (mode {picture.mode!r}; "
        f"{', '.join(shown)}): open it with gp.read"
    )


def _is_lossless_tiff(picture: Image, tags: Any) -> bool:
    """Return whether Pillow decodes a TIFF with these ``tags`` without loss."""
    samples = TIFF_SAMPLES.get(picture.mode)
    if samples is None:
        return False
    if tags.get(Tag.PhotometricInterpretation, 0) not in samples.photometric:
        return False
    if not set(tags.get(Tag.BitsPerSample, (1,))) <= set(samples.bits):
        return False
    if set(tags.get(Tag.SampleFormat, (1,))) != {samples.sample_format}:
        return False
    bands = picture.getbands()
    if tags.get(Tag.SamplesPerPixel, len(bands)) != len(bands):
        return False
    # ExtraSamples: 1 and 2 are alpha, premultiplied or not. Pillow also calls a last
    # band alpha that the file does not declare to be alpha.
    is_alpha = tuple(tags.get(Tag.ExtraSamples, ())) in ((1,), (2,))
    if bands[-1] == "A" and not is_alpha:
        return False
    # Pillow rotates a TIFF itself, and garbles those that it maps into memory.
    if tags.get(Tag.Orientation, 1) != 1:
        return False
    # Colours of a palette have 16 bits, of which Pillow keeps 8. That loses nothing if
    # all are multiples of 256 or of 257, the two ways to widen 8 bits to 16.
    levels = tags.get(Tag.ColorMap, ())
    return any(all(level % step == 0 for level in levels) for step in (256, 257))


def _check_png_or_ppm(picture: Image) -> None:
    """Raise DTypeError for 16-bit PNGs in colour and for PPMs that Pillow scales."""
    for tile in getattr(picture, "tile", ()):
        # The arguments of the decoder: its raw mode, alone or before others.
        arguments = tile[3]
        if not isinstance(arguments, tuple):
            arguments = (arguments,)
        raw_mode = arguments[0]
        is_gray_16_bit = picture.mode.startswith("I")
        if picture.format == "PNG" and ";16" in raw_mode and not is_gray_16_bit:
            raise DTypeError(
                f"the file has 16 bits a band, which Pillow cuts to 8 (mode "
                f"{picture.mode!r}): open it with gp.read"
            )
        if picture.format == "PPM" and picture.mode != "F" and len(arguments) > 1:
            _check_ppm_levels(picture, arguments[1])


def _check_ppm_levels(picture: Image, file_maximum: int) -> None:
    """Raise DTypeError if Pillow scales the levels of a PPM, and so rounds them."""
    maximum = 255
    if picture.mode == "I":
        maximum = 65535
    if file_maximum != maximum:
        raise DTypeError(
            f"the greatest level of the file is {file_maximum}, which Pillow scales "
            f"to {maximum} (mode {picture.mode!r}): convert it to PNG or TIFF first, "
            f"with a tool that keeps every level"
        )


def to_planes(
    picture: Image, alpha_band_counts: Collection[int]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the pixels of ``picture`` and the names of its bands.

    Parameters
    ----------
    picture : PIL.Image.Image
        Image in gray, RGB or a palette of them.
    alpha_band_counts : collection of int
        Numbers of bands, alpha included, for which alpha is a band. Otherwise alpha
        must be opaque and is dropped.

    Returns
    -------
    planes : ndarray of shape (C, H, W)
        Stored values, every level kept.
    bands : tuple of str

    Raises
    ------
    DTypeError, ReadError
        If the mode is another one, or as for `check_file`.
    ChannelError
        If alpha is not a band, and parts of the image are transparent.
    """
    mode = picture.mode
    is_integer = mode == "I" or mode.startswith("I;16")
    if mode not in (*MODES, "P", "PA") and not is_integer:
        raise DTypeError(
            f"expected a picture in gray, RGB or a palette of them, got mode "
            f"{mode!r}: convert it first"
        )
    check_file(picture)
    if mode in ("LA", "RGBA") and len(picture.getbands()) in alpha_band_counts:
        return np.moveaxis(np.asarray(picture), -1, 0), picture.getbands()
    if picture.has_transparency_data:
        picture = _without_alpha(picture)
    if is_integer:  # 16 bits in either byte order, or 32
        return np.asarray(picture)[None], ("gray",)
    stored = from_pillow(picture)
    planes = stored.image[None]
    if stored.layout != "HW":
        planes = np.moveaxis(stored.image, -1, 0)
    return planes, parse_bands(stored.bands or ())


def _without_alpha(picture: Image) -> Image:
    """Return a copy of ``picture`` without its alpha, which must be opaque."""
    if not _is_opaque(picture):
        raise ChannelError(
            f"parts of the picture (mode {picture.mode!r}) are transparent: blend it "
            f"with a background first, as gp.read(path, alpha='white') does"
        )
    opaque = _palette_image(picture) if picture.mode == "PA" else picture.copy()
    # The level, or the index into a palette, that would be transparent in a pixel.
    opaque.info.pop("transparency", None)
    return opaque


def _is_opaque(picture: Image) -> bool:
    """Return whether every pixel of ``picture`` is opaque."""
    if picture.mode.startswith("I"):
        # Pillow would cut these to 8 bits on the way to RGBA.
        return bool((np.asarray(picture) != picture.info["transparency"]).all())
    alpha = picture.convert("RGBA").getchannel("A")
    return alpha.getextrema() == (255, 255)


def _palette_image(picture: Image) -> Image:
    """Return the image of mode P in ``picture``, of mode PA."""
    indices = picture.getchannel("P")
    indices.putpalette(picture.getpalette("RGB") or [])
    return indices
