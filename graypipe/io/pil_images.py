"""Read the pixels of PIL images without loss, with the names of their bands.

Pillow silently discards information that its modes cannot represent: it truncates
16-bit colour to 8 bits, wraps signed or wide integers, and inverts some files but not
others. An image that still refers to its file carries enough information to detect
this, so such images are checked against a list of formats that Pillow decodes without
loss.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as Tag
from PIL.Image import Image

from ..bands import format_bands, parse_bands
from ..errors import ChannelError, DTypeError, ReadError
from .pillow_formats import MODES, from_pillow

# Formats of Pillow whose files never have more than 8 bits per band.
EIGHT_BIT_FORMATS = ("BMP", "GIF", "JPEG", "MPO", "QOI", "TGA", "WEBP")


class TiffSamples(NamedTuple):
    """Tag values of TIFF files that Pillow decodes into one mode without loss."""

    photometric: tuple[int, ...]
    bits: tuple[int, ...]
    sample_format: int


# Keyed by the Pillow mode. PhotometricInterpretation: 0 white is zero, 1 black is zero,
# 2 RGB, 3 palette, 6 YCbCr. SampleFormat: 1 unsigned, 2 signed, 3 floating-point.
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

# Tags that the error message about a TIFF file shows.
TIFF_TAGS_SHOWN = (
    Tag.PhotometricInterpretation,
    Tag.BitsPerSample,
    Tag.SampleFormat,
    Tag.SamplesPerPixel,
    Tag.ExtraSamples,
    Tag.Orientation,
)


def check_file(picture: Image) -> None:
    """Check that Pillow decodes the file of ``picture`` without loss.

    Only images straight from a file can be checked: a copy, a crop or any other derived
    image has no reference to its file and always passes. For PNG and PPM files, Pillow
    keeps the bit depth only until `PIL.Image.Image.load`.

    Raises
    ------
    DTypeError
        If levels of the file are lost, or if a loss could not be detected.
    ReadError
        If the file contains several frames.
    """
    if picture.format is None:
        return
    if picture.format == "TIFF":
        _check_tiff(picture)
    elif picture.format in ("PNG", "PPM"):
        _check_png_or_ppm(picture)
    elif picture.format not in EIGHT_BIT_FORMATS:
        raise DTypeError(
            f"Pillow does not report the bit depth of {picture.format} files, and "
            "truncates or wraps values of more than 8 bits: decode the file with a "
            "library that keeps them, such as imagecodecs, and pass the array; if you "
            "know that the file has 8 bits per band, pass picture.copy()"
        )
    _check_single_frame(picture)


def _check_single_frame(picture: Image) -> None:
    """Raise ReadError if the file of ``picture`` contains several frames."""
    # Pillow counts the frames of a GIF by reading the rest of the file, which fails
    # once the file is closed.
    if picture.format == "GIF" and not getattr(picture, "fp", None):
        return
    if getattr(picture, "is_animated", False):
        raise ReadError(
            f"the {picture.format} file contains several frames, and frame "
            f"{picture.tell()} is selected: choose one with gp.read(path, frame=0), or "
            "with picture.seek(0), and pass picture.copy()"
        )


def _check_tiff(picture: Image) -> None:
    """Raise DTypeError unless Pillow decodes the TIFF file without loss."""
    # A pickled image has lost its tags. The TIFF defaults that are used instead mean
    # 1-bit pixels, so images of all other modes are refused.
    tags = vars(picture).get("tag_v2", {})
    if _is_lossless_tiff(picture, tags):
        return
    details = [f"mode {picture.mode!r}"]
    details += [f"{tag.name} {tags[tag]}" for tag in TIFF_TAGS_SHOWN if tag in tags]
    raise DTypeError(
        f"Pillow does not decode this TIFF file without loss ({', '.join(details)}): "
        "open it with gp.read"
    )


def _is_lossless_tiff(picture: Image, tags: Any) -> bool:
    """Return whether Pillow decodes a TIFF file with these ``tags`` without loss."""
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
    # ExtraSamples: 1 and 2 are alpha, premultiplied or not. Pillow may also label the
    # last band as alpha although the file does not declare it as such.
    is_alpha = tuple(tags.get(Tag.ExtraSamples, ())) in ((1,), (2,))
    if bands[-1] == "A" and not is_alpha:
        return False
    # Pillow applies the orientation of a TIFF itself, and corrupts the pixels if the
    # file is memory-mapped.
    if tags.get(Tag.Orientation, 1) != 1:
        return False
    # Palette entries have 16 bits, of which Pillow keeps 8. That loses nothing if all
    # are multiples of 256 or of 257, the two ways to widen 8 bits to 16.
    entries = tags.get(Tag.ColorMap, ())
    return any(all(entry % step == 0 for entry in entries) for step in (256, 257))


def _check_png_or_ppm(picture: Image) -> None:
    """Raise DTypeError for 16-bit colour PNGs and for PPMs that Pillow scales."""
    for tile in getattr(picture, "tile", ()):
        # The decoder arguments: the raw mode alone, or a tuple that starts with it.
        arguments = tile[3]
        if not isinstance(arguments, tuple):
            arguments = (arguments,)
        raw_mode = arguments[0]
        is_gray_16_bit = picture.mode.startswith("I")
        if picture.format == "PNG" and ";16" in raw_mode and not is_gray_16_bit:
            raise DTypeError(
                "the file has 16 bits per band, which Pillow truncates to 8 (mode "
                f"{picture.mode!r}): open it with gp.read"
            )
        if picture.format == "PPM" and picture.mode != "F" and len(arguments) > 1:
            _check_ppm_levels(picture, arguments[1])


def _check_ppm_levels(picture: Image, file_maximum: int) -> None:
    """Raise DTypeError if Pillow scales the values of a PPM, and so rounds them."""
    maximum = 255
    if picture.mode == "I":
        maximum = 65535
    if file_maximum != maximum:
        raise DTypeError(
            f"the maximum value (maxval) of the file is {file_maximum}, which Pillow "
            f"scales to {maximum} (mode {picture.mode!r}): open it with gp.read"
        )


def to_planes(
    picture: Image, alpha_band_counts: Collection[int]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the pixels of ``picture`` and the names of its bands.

    Parameters
    ----------
    picture : PIL.Image.Image
        Gray, RGB or palette image, with or without alpha.
    alpha_band_counts : collection of int
        Band counts (including alpha) for which a plan uses alpha as a band. For all
        others, alpha must be fully opaque and is dropped.

    Returns
    -------
    planes : ndarray of shape (C, H, W)
        Stored values, without loss.
    bands : tuple of str
        Names of the bands, in order.

    Raises
    ------
    DTypeError, ReadError
        If the mode is not supported, or as for `check_file`.
    ChannelError
        If alpha would be dropped although parts of the image are transparent.
    """
    mode = picture.mode
    is_integer = mode == "I" or mode.startswith("I;16")
    if mode not in (*MODES, "P", "PA") and not is_integer:
        raise DTypeError(
            f"expected a gray, RGB or palette image, got mode {mode!r}: convert it "
            "first, for example with picture.convert('RGB')"
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


def check_band_order(
    source_bands: tuple[str, ...], bands: tuple[str, ...], description: str
) -> None:
    """Check that no band of a source has the name of another band of the image.

    A source may use other names for the bands of a PIL image, such as those of
    satellite bands, but must not use one of its names for a different band (R for its
    B).

    Parameters
    ----------
    source_bands, bands : tuple of str
        Bands of the source and of the image, equally many.
    description : str
        Description of the image for the error message.

    Raises
    ------
    ChannelError
        If the orders differ.
    """
    for source_name, image_name in zip(source_bands, bands, strict=True):
        if source_name in bands and source_name != image_name:
            raise ChannelError(
                "the source of the plan declares the bands in the order "
                f"{format_bands(source_bands)}, but {description} has the order "
                f"{format_bands(bands)}: declare the bands in the order of the image; "
                "the plan reorders them for its target"
            )


def planes_for(picture: Image, source_bands: tuple[str, ...]) -> NDArray[Any]:
    """Return the pixels of ``picture`` for a source with these bands.

    Parameters
    ----------
    picture : PIL.Image.Image
    source_bands : tuple of str
        Alpha is a band if one of them is called A; otherwise it must be opaque.

    Returns
    -------
    ndarray of shape (C, H, W)
        Stored values, without loss.

    Raises
    ------
    DTypeError, ReadError, ChannelError
        As for `to_planes`, and if the image has other bands.
    """
    alpha_band_counts = [len(source_bands)] if "A" in source_bands else []
    planes, bands = to_planes(picture, alpha_band_counts)
    description = f"a PIL image of mode {picture.mode!r}"
    if len(bands) != len(source_bands):
        raise ChannelError(
            f"expected the bands {format_bands(source_bands)}, got {description}, "
            f"whose bands are {format_bands(bands)}: build a plan for these bands, or "
            "convert the image, for example with picture.convert('L')"
        )
    check_band_order(source_bands, bands, description)
    return planes


def _without_alpha(picture: Image) -> Image:
    """Return a copy of ``picture`` without its alpha, which must be opaque."""
    if not _is_opaque(picture):
        raise ChannelError(
            f"parts of the image (mode {picture.mode!r}) are transparent: blend it "
            "with a background first, as gp.read(path, alpha='white') does"
        )
    opaque = _palette_image(picture) if picture.mode == "PA" else picture.copy()
    # The gray level, palette index or colour that marks transparent pixels.
    opaque.info.pop("transparency", None)
    return opaque


def _is_opaque(picture: Image) -> bool:
    """Return whether every pixel of ``picture`` is opaque."""
    if picture.mode.startswith("I"):
        # convert("RGBA") would truncate these modes to 8 bits.
        return bool((np.asarray(picture) != picture.info["transparency"]).all())
    alpha = picture.convert("RGBA").getchannel("A")
    return alpha.getextrema() == (255, 255)


def _palette_image(picture: Image) -> Image:
    """Return ``picture``, of mode PA, without its alpha, as mode P."""
    indices = picture.getchannel("P")
    indices.putpalette(picture.getpalette("RGB") or [])
    return indices
