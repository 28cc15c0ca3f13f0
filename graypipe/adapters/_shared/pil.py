"""Pictures: the pixels of PIL images, every level of them, and the names of their bands.

Pillow cuts, wraps or inverts files of more than its modes hold, without a word. A picture that still knows its file
says so, and only what is known to arrive whole is let in.
"""

from collections.abc import Collection
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import bands as names
from ...errors import ChannelError, DTypeError, GraypipeError, ReadError
from ...io.pillow import MODES, from_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

EIGHT_BITS = ("BMP", "GIF", "JPEG", "MPO", "QOI", "TGA", "WEBP")
"""Pillow's formats that have 8 bits a band or fewer in every file that it opens."""

TIFF = {
    "1": ((0, 1), (1,), 1),
    "L": ((0, 1, 6), (2, 4, 8), 1),
    "LA": ((1,), (8,), 1),
    "P": ((3,), (1, 2, 4, 8), 1),
    "PA": ((3,), (8,), 1),
    "RGB": ((2, 6), (8,), 1),
    "RGBA": ((2,), (8,), 1),
    "I;16": ((1,), (16,), 1),
    "I;16B": ((1,), (16,), 1),
    "I": ((1,), (16, 32), 2),
    "F": ((1,), (32,), 3),
}
"""PhotometricInterpretation, BitsPerSample and SampleFormat that Pillow hands over as they are, by its mode."""

BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, COLORMAP, EXTRA, FORMAT = (
    258,
    262,
    274,
    277,
    320,
    338,
    339,
)
"""Tags of TIFF 6.0."""


def open_picture(path: "str | PathLike[str]") -> "Image":
    """Return the picture of a file, loaded: a loader for `torchvision.datasets.ImageFolder` that converts nothing.

    Raises DTypeError where Pillow would not hand over every level, ReadError where the file holds several pictures, and
    what `PIL.Image.open` raises.
    """
    import PIL.Image

    with PIL.Image.open(path) as picture:
        try:
            check_file(picture)
        except GraypipeError as error:
            raise type(error)(f"{path}: {error}") from None
        picture.load()
        return (
            picture.copy()
        )  # which is closed, and stays what was checked when it is pickled


def check_file(picture: "Image") -> None:
    """Raise DTypeError or ReadError where ``picture`` knows its file and is less than that holds.

    A copy, a crop and all else that Pillow computes know no file, and after `load` a PNG or PPM has forgotten its bits.
    """
    if picture.format is None:
        return
    if picture.format == "TIFF":
        _check_tiff(picture)
    elif picture.format in ("PNG", "PPM"):
        _check_levels(picture)
    elif picture.format not in EIGHT_BITS:
        raise DTypeError(
            f"Pillow does not tell how many bits a file of the format {picture.format} has, and cuts or wraps those "
            f"over 8: decode it with a library that keeps them, such as imagecodecs, and pass the array, or hand over "
            f"picture.copy() where you know that it has 8"
        )
    closed = picture.format == "GIF" and not getattr(
        picture, "fp", None
    )  # it has to look into the file again
    if not closed and getattr(picture, "is_animated", False):
        raise ReadError(
            f"the {picture.format} file holds several pictures, of which Pillow shows number {picture.tell()}: "
            f"choose one with gp.read(path, frame=0), or with seek, and hand over picture.copy()"
        )


def _check_tiff(picture: "Image") -> None:
    tags = vars(picture).get("tag_v2", {})  # pickling drops them
    photometrics, bits, form = TIFF.get(picture.mode, ((), (), 0))
    bands, extra, levels = (
        picture.getbands(),
        tags.get(EXTRA, ()),
        tags.get(COLORMAP, ()),
    )
    if not (
        tags.get(PHOTOMETRIC, 0) in photometrics
        and set(tags.get(BITS, (1,))) <= set(bits)
        and set(tags.get(FORMAT, (1,))) == {form}
        and tags.get(SAMPLES, len(bands)) == len(bands)
        and (bands[-1] != "A" or tuple(extra) in ((1,), (2,)))
        and tags.get(ORIENTATION, 1)
        == 1  # Pillow turns a TIFF itself, and garbles what it maps into memory
        and not all(any(level % step for level in levels) for step in (256, 257))
    ):
        told = {
            "PhotometricInterpretation": PHOTOMETRIC,
            "BitsPerSample": BITS,
            "SampleFormat": FORMAT,
        }
        told |= {
            "SamplesPerPixel": SAMPLES,
            "ExtraSamples": EXTRA,
            "Orientation": ORIENTATION,
        }
        raise DTypeError(
            f"Pillow does not hand over this TIFF as it is (mode {picture.mode!r}; "
            f"{', '.join(f'{name} {tags[tag]}' for name, tag in told.items() if tag in tags)}): open it with gp.read"
        )


def _check_levels(picture: "Image") -> None:
    """Raise DTypeError for a PNG of 16 bits that is not gray, and for a PPM whose levels are scaled."""
    for part in getattr(picture, "tile", ()):
        rawmode, *more = part[3] if isinstance(part[3], tuple) else (part[3],)
        if (
            picture.format == "PNG"
            and ";16" in rawmode
            and not picture.mode.startswith("I")
        ):
            raise DTypeError(
                f"the file has 16 bits a band, which Pillow cuts to 8 (mode {picture.mode!r}): open it with gp.read"
            )
        greatest = 65535 if picture.mode == "I" else 255
        if (
            picture.format == "PPM"
            and picture.mode != "F"
            and more
            and more[0] != greatest
        ):
            raise DTypeError(
                f"the greatest level of the file is {more[0]}, which Pillow scales to {greatest} (mode "
                f"{picture.mode!r}): convert it to PNG or TIFF first, with a tool that keeps every level"
            )


def planes(
    picture: "Image", takes_alpha: Collection[int]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return (C, H, W), every level of ``picture``, and the names of its bands.

    Alpha is a band where ``takes_alpha`` holds the band count of the picture with it, else it has to be opaque
    (ChannelError) and is dropped. DTypeError or ReadError where the picture is less than its file, see `check_file`.
    """
    if picture.mode not in (*MODES, "P", "PA", "I") and not picture.mode.startswith(
        "I;16"
    ):
        raise DTypeError(
            f"expected a picture in gray, RGB or a palette of them, got mode {picture.mode!r}: convert it first"
        )
    check_file(picture)
    if picture.mode in ("LA", "RGBA") and len(picture.getbands()) in takes_alpha:
        return np.moveaxis(np.asarray(picture), -1, 0), picture.getbands()
    if picture.has_transparency_data:
        picture = _without_alpha(picture)
    if picture.mode.startswith("I"):  # 16 bits in whatever byte order, or 32
        return np.asarray(picture)[None], ("gray",)
    stored = from_pillow(picture)
    image = (
        stored.image[None]
        if stored.layout == "HW"
        else np.moveaxis(stored.image, -1, 0)
    )
    return image, names.parse(stored.bands or ())


def _without_alpha(picture: "Image") -> "Image":
    if picture.mode.startswith("I"):
        opaque = (np.asarray(picture) != picture.info["transparency"]).all()
    else:
        opaque = picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    if not opaque:
        raise ChannelError(
            f"parts of the picture (mode {picture.mode!r}) are transparent: lay it on a ground first, as "
            f"gp.read(path, alpha='white') does"
        )
    picture = _indices(picture) if picture.mode == "PA" else picture.copy()
    picture.info.pop("transparency", None)
    return picture


def _indices(picture: "Image") -> "Image":
    """Return the palette image in mode P that is in ``picture``, of mode PA."""
    indices = picture.getchannel("P")
    indices.putpalette(picture.getpalette("RGB") or [])
    return indices
