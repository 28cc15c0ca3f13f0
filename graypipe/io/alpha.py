"""Alpha: dropped in silence where it is fully opaque, else under a policy."""

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bands as names
from ..errors import ChannelError, ReadError
from .decoded import Stored

POLICIES = ("error", "drop", "white", "black")


def as_band(stored: Stored, declared: Any) -> Stored:
    """Return ``stored`` with its alpha as the band it is stored as, where ``declared`` names all samples of a pixel."""
    with suppress(
        ChannelError
    ):  # which is said, with the rest, where the source is made
        if stored.alpha is None or stored.sample is None or declared is None:
            return stored
        layout = "HWC" if stored.layout == "HW" else str(stored.layout)
        image = stored.image[..., None] if stored.layout == "HW" else stored.image
        axis = layout.index("C")
        if len(names.parse(declared)) == image.shape[axis] + 1:
            image = np.insert(image, stored.sample, stored.alpha, axis)
            return stored._replace(
                image=image, layout=layout, bands=names.parse(declared), alpha=None
            )
    return stored


def settle(stored: Stored, policy: str) -> NDArray[Any]:
    """Return the image without its alpha, as ``policy`` says."""
    image, alpha = stored.image, stored.alpha
    if alpha is None:
        return image
    black, white = levels(stored)
    opaque = max(black, white)
    if bool((alpha == opaque).all()):
        return image
    if policy == "error":
        band = (
            ""
            if stored.sample is None
            else "; where that sample is no alpha, bands= with a name for it reads it too"
        )
        raise ReadError(
            f"parts of the image are transparent: alpha='white' or 'black' lays it on that ground, alpha='drop' takes "
            f"the colours as they are stored{band}"
        )
    if policy == "drop":
        if stored.premultiplied:
            raise ReadError(
                "its colours are stored multiplied by alpha, so alpha='drop' has none to take: alpha='white' or "
                "'black' lays it on that ground"
            )
        return image
    return composite(stored, white if policy == "white" else black, opaque)


def levels(stored: Stored) -> tuple[float, float]:
    """Return (black, white) in stored values, where alpha has one: the file's own statement, else the dtype's."""
    if "range" in stored.states:
        black, white = stored.states["range"]
        return black, white
    if "bits" in stored.states:
        return 0, 2 ** stored.states["bits"] - 1
    kind = stored.image.dtype.kind
    return 0, np.iinfo(stored.image.dtype).max if kind in "iu" else 1


def composite(stored: Stored, ground: float, opaque: float) -> NDArray[Any]:
    """Return the image laid on ``ground``: colour · a + ground · (1 - a), rounded to the nearest level.

    Exact for integers of up to 16 bits: sums stay below 2³², and as ``opaque`` is odd there, nothing lies half way
    between two levels.
    """
    image, dtype = stored.image, stored.image.dtype
    if dtype.kind in "iu" and dtype.name not in ("uint8", "uint16"):
        raise ReadError(f"{dtype} colours with alpha: only alpha='drop' takes them")
    alpha = stored.alpha[..., None] if stored.layout == "HWC" else stored.alpha  # type: ignore[index]
    wide = np.dtype(np.float64 if dtype.kind == "f" else np.uint32)
    over, most, below = alpha.astype(wide), wide.type(opaque), wide.type(ground)  # type: ignore[union-attr]
    colour = image.astype(wide)
    light: NDArray[Any] = (
        np.minimum(colour, over) * most if stored.premultiplied else colour * over
    )
    light += below * (most - over)
    return (light / most if dtype.kind == "f" else (light + most // 2) // most).astype(
        dtype
    )
