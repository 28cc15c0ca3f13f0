"""What a file holds: decoders state it, the policies and the keywords of `graypipe.read` settle the rest."""

from collections.abc import Mapping
from operator import index
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..errors import ReadError

NOTHING: Mapping[str, Any] = MappingProxyType({})

LARGE = 4
"""Bytes a pixel under Pillow's guard, an RGBA image: what is larger than that many bytes has to be in proportion."""

RATIO = 64
"""Decoded bytes to bytes of the file. Real images stay below 20; the most that deflate can do is 1032."""


class Stored(NamedTuple):
    """One image of a file, every level as it is stored.

    ``image`` is (H, W), (H, W, C) or (C, H, W) in native byte order, or an array of whatever axes where ``layout`` is
    None. ``bands``: their names, None where the file has none. ``alpha``: (H, W) of the image's dtype.
    ``sample``: the place of alpha among the samples of a pixel, where bands= may name it instead.
    ``states``: keywords of a Source that the file itself states. ``orientation``: None where what says it is damaged.
    """

    image: NDArray[Any]
    layout: str | None
    bands: str | tuple[str, ...] | None
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False
    orientation: int | None = 1
    states: Mapping[str, Any] = NOTHING
    sample: int | None = None


def choose(frame: object, frames: int) -> int:
    """Return the index of the frame that is meant, of ``frames``; ReadError where it is open or out of range."""
    if frame is None:
        if frames == 1:
            return 0
        raise ReadError(
            f"expected one image, got {frames} frames or pages: say which with frame=, 0 to {frames - 1}"
        )
    try:
        chosen = -1 if isinstance(frame, bool) else index(frame)  # type: ignore[arg-type]
    except TypeError:
        chosen = -1
    if not 0 <= chosen < frames:
        raise ReadError(
            f"frame is a whole number from 0 to {frames - 1} for this file, got {frame!r}"
        )
    return chosen


def check_size(decoded: int, compressed: int) -> None:
    """Raise ReadError where a small file claims a huge image, before memory is taken for it; sizes in bytes."""
    from PIL import Image  # only its limit, which a person may have set for the process

    most = Image.MAX_IMAGE_PIXELS
    if most is not None and decoded > LARGE * most and decoded > RATIO * compressed:
        raise ReadError(
            f"{compressed} bytes claim an image of {decoded}: damaged, or a decompression bomb. Where the file is "
            f"trusted, raise PIL.Image.MAX_IMAGE_PIXELS (now {most}) or set it to None"
        )
