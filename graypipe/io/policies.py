"""The ``alpha=`` and ``orientation=`` policies of `graypipe.read`."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import parse_bands
from ..errors import ChannelError, ReadError
from .decoded import DecodedImage

ALPHA_POLICIES = ("error", "drop", "white", "black")
ORIENTATION_POLICIES = ("error", "apply", "ignore")


def alpha_as_band(decoded: DecodedImage, bands: Any) -> DecodedImage:
    """Return `decoded` with its alpha as an ordinary band, if `bands` names that too.

    GDAL marks the fourth of four uint8 bands as alpha by default, even if it is near
    infrared. Naming all samples of a pixel with ``bands=`` reads such files.

    Parameters
    ----------
    decoded : DecodedImage
        Returned as it is if it has no `alpha_sample`.
    bands : str or sequence of str or None
        The ``bands=`` keyword of `graypipe.read`.
    """
    alpha, sample, layout = decoded.alpha, decoded.alpha_sample, decoded.layout
    if alpha is None or sample is None or layout is None or bands is None:
        return decoded
    try:
        names = parse_bands(bands)
    except ChannelError:
        # `Source` raises the same error later, after the checks of the file.
        return decoded
    image = decoded.image
    if layout == "HW":
        image, layout = image[..., np.newaxis], "HWC"
    band_axis = layout.index("C")
    if len(names) != image.shape[band_axis] + 1:
        return decoded
    image = np.insert(image, sample, alpha, band_axis)
    return replace(decoded, image=image, layout=layout, bands=names, alpha=None)


def resolve_alpha(decoded: DecodedImage, policy: str) -> NDArray[Any]:
    """Return the image without alpha, as the ``alpha=`` policy says.

    Parameters
    ----------
    decoded : DecodedImage
        Its image is returned as it is if it has no alpha or is fully opaque.
    policy : {"error", "drop", "white", "black"}
        What to do if parts of the image are transparent.

    Raises
    ------
    ReadError
        If parts are transparent and the policy is "error", or the policy cannot be
        applied: "drop" to premultiplied colours, a background to wide integers.
    """
    alpha = decoded.alpha
    if alpha is None or bool((alpha == decoded.opaque_level).all()):
        return decoded.image
    if policy == "error":
        message = (
            "parts of the image are transparent: alpha='white' or 'black' puts the "
            "image on that background, alpha='drop' keeps the colours as stored"
        )
        if decoded.alpha_sample is not None:
            message += (
                "; if the sample marked as alpha is an ordinary band, declare bands= "
                "with a name for it"
            )
        raise ReadError(message)
    if policy == "drop":
        if decoded.premultiplied:
            raise ReadError(
                "alpha='drop' cannot recover the colours, which are stored multiplied "
                "by alpha: alpha='white' or 'black' puts the image on that background"
            )
        return decoded.image
    black, white = decoded.black_and_white
    background = white if policy == "white" else black
    return _composite(decoded, alpha, background)


def _composite(
    decoded: DecodedImage, alpha: NDArray[Any], background: float
) -> NDArray[Any]:
    """Return colour * a + background * (1 - a), rounded to the nearest level."""
    dtype = decoded.image.dtype
    is_float = dtype.kind == "f"
    if dtype.kind in "iu" and dtype.name not in ("uint8", "uint16"):
        raise ReadError(
            f"expected uint8, uint16 or floats to put on a background, got {dtype} "
            f"with alpha: only alpha='drop' reads it"
        )
    # uint32 is exact for integers: the weighted sum of two levels of 16 bits is at most
    # 65535 * 65535, and adding half the divisor below stays under 2**32.
    wide: Any = np.float64 if is_float else np.uint32
    if decoded.layout == "HWC":
        alpha = alpha[..., np.newaxis]
    alpha = alpha.astype(wide)
    opaque = wide(decoded.opaque_level)
    colour = decoded.image.astype(wide)
    scaled: NDArray[Any]
    if decoded.premultiplied:
        # Premultiplied colours above alpha are invalid and would exceed white.
        scaled = np.minimum(colour, alpha) * opaque
    else:
        scaled = colour * alpha
    scaled += wide(background) * (opaque - alpha)
    composed: NDArray[Any]
    if is_float:
        composed = scaled / opaque
    else:
        # Half the divisor rounds to the nearest level. The divisor, 2**n - 1, is odd,
        # so no value lies half-way between two levels.
        half = opaque // 2
        composed = (scaled + half) // opaque
    return composed.astype(dtype)


def apply_orientation(
    image: NDArray[Any], layout: str, orientation: int | None, policy: str
) -> NDArray[Any]:
    """Return the image as the ``orientation=`` policy says.

    Parameters
    ----------
    image : ndarray
        Returned as it is if `orientation` is 1 or `policy` is "ignore".
    layout : str
        Which axis of `image` is which.
    orientation : int or None
        EXIF orientation, 1 to 8; None if the metadata that states it is damaged.
    policy : {"error", "apply", "ignore"}
        "apply" returns a new, contiguous array that is upright.

    Raises
    ------
    ReadError
        If `orientation` is None, or not 1 and the policy is "error".
    """
    if orientation == 1 or policy == "ignore":
        return image
    if orientation is None:
        raise ReadError(
            "the EXIF block, which states the orientation of the image, is damaged: "
            "orientation='ignore' reads the stored pixels"
        )
    if policy == "apply":
        return _upright(image, layout, orientation)
    raise ReadError(
        f"the stored image is rotated or mirrored (EXIF orientation {orientation}): "
        f"orientation='apply' undoes that, orientation='ignore' keeps the stored pixels"
    )


def _upright(image: NDArray[Any], layout: str, orientation: int) -> NDArray[Any]:
    """Return a copy in which EXIF orientation 2 to 8 is undone."""
    height_axis, width_axis = layout.index("H"), layout.index("W")
    # Orientations 5 to 8 store rows as columns. Once the axes are swapped back, every
    # orientation is a matter of mirroring one axis, both or none.
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(height_axis, width_axis)
    mirrored_axes = []
    if orientation in (3, 4, 7, 8):
        mirrored_axes.append(height_axis)
    if orientation in (2, 3, 6, 7):
        mirrored_axes.append(width_axis)
    return np.ascontiguousarray(np.flip(image, tuple(mirrored_axes)))
