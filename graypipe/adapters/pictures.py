"""Pictures: the pixels of PIL images, every level of them, and the names of their bands."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import bands as names
from ..errors import ChannelError, DTypeError
from ..reading.pillow import MODES, from_pillow

if TYPE_CHECKING:
    from PIL.Image import Image


def planes(picture: "Image", counts: Collection[int]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return (C, H, W), every level of ``picture``, and the names of its bands.

    Alpha is a band where one of ``counts`` has a place for it, else it has to be opaque (ChannelError) and is dropped.
    """
    if picture.mode not in (*MODES, "P", "PA", "I") and not picture.mode.startswith("I;16"):
        raise DTypeError(
            f"expected a picture in gray, RGB or a palette of them, got mode {picture.mode!r}: convert it first"
        )
    if not picture.mode.startswith("I") and any("16" in str(part[3]) for part in getattr(picture, "tile", ())):
        raise DTypeError(
            f"the file has 16 bits a band, which Pillow cuts down to 8 (mode {picture.mode!r}): open it with gp.read"
        )
    if picture.mode in ("LA", "RGBA") and len(picture.getbands()) in counts:
        return np.moveaxis(np.asarray(picture), -1, 0), picture.getbands()
    if picture.has_transparency_data:
        picture = _without_alpha(picture)
    if picture.mode.startswith("I"):  # 16 bits in whatever byte order, or 32
        return np.asarray(picture)[None], ("gray",)
    stored = from_pillow(picture)
    image = stored.image[None] if stored.layout == "HW" else np.moveaxis(stored.image, -1, 0)
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
    picture = picture.convert("RGB") if picture.mode == "PA" else picture.copy()
    picture.info.pop("transparency", None)
    return picture
