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
    """Turn the alpha of an image into an ordinary band, if ``bands`` also names it.

    GDAL marks the fourth of four uint8 bands as alpha by default, even if it is near
    infrared. Such files can be read by naming all samples of a pixel with ``bands``.

    Parameters
    ----------
    decoded : DecodedImage
        Returned unchanged if its ``alpha_sample`` is None.
    bands : str or sequence of str or None
        The ``bands`` argument of `graypipe.read`.
    """
    alpha, sample, layout = decoded.alpha, decoded.alpha_sample, decoded.layout
    if alpha is None or sample is None or layout is None or bands is None:
        return decoded
    try:
        names = parse_bands(bands)
    except ChannelError:
        # `build_source` raises this error later.
        return decoded
    image = decoded.image
    if "C" not in layout:
        image, layout = image[..., np.newaxis], layout + "C"
    band_axis = layout.index("C")
    if len(names) != image.shape[band_axis] + 1:
        return decoded
    before, after = np.split(image, [sample], band_axis)
    parts = [before, np.expand_dims(alpha, band_axis), after]
    image = np.concatenate(parts, band_axis)
    return replace(
        decoded,
        image=image,
        layout=layout,
        bands=names,
        alpha=None,
        descriptions=None,
    )


def resolve_alpha(decoded: DecodedImage, policy: str) -> NDArray[Any]:
    """Return the image without alpha, according to the ``alpha`` policy.

    Parameters
    ----------
    decoded : DecodedImage
        Its image is returned unchanged if it has no alpha or is fully opaque.
    policy : {"error", "drop", "white", "black"}
        What to do if parts of the image are transparent.

    Raises
    ------
    ReadError
        If parts of the image are transparent and the policy is "error", or if the
        policy is not supported: "drop" for premultiplied colours, "white" or "black"
        for integers that are signed or wider than 16 bits.
    """
    alpha = decoded.alpha
    if alpha is None or bool((alpha == decoded.opaque_level).all()):
        return decoded.image
    if policy == "error":
        message = (
            "parts of the image are transparent: use alpha='white' or alpha='black' to "
            "composite it onto that background, or alpha='drop' to keep the stored "
            "colours"
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
                "alpha='drop' cannot be used with premultiplied alpha: use "
                "alpha='white' or alpha='black' to composite the image onto that "
                "background"
            )
        return decoded.image
    black, white = decoded.black_and_white
    background = white if policy == "white" else black
    return _composite(decoded, alpha, background)


def _composite(
    decoded: DecodedImage, alpha: NDArray[Any], background: float
) -> NDArray[Any]:
    """Return colour * a + background * (1 - a), rounded if the dtype is integer."""
    dtype = decoded.image.dtype
    is_float = dtype.kind == "f"
    if dtype.kind in "iu" and dtype.name not in ("uint8", "uint16"):
        raise ReadError(
            f"compositing requires uint8, uint16 or a floating dtype, got {dtype}: use "
            "alpha='drop'"
        )
    # uint32 is exact for integers: the weighted sum of two 16-bit values is at most
    # 65535 * 65535, and adding half the divisor below stays under 2**32.
    compute_dtype: Any = np.float64 if is_float else np.uint32
    if decoded.layout is not None and "C" in decoded.layout:
        alpha = np.expand_dims(alpha, decoded.layout.index("C"))
    alpha = alpha.astype(compute_dtype)
    opaque = compute_dtype(decoded.opaque_level)
    colour = decoded.image.astype(compute_dtype)
    scaled: NDArray[Any]
    if decoded.premultiplied:
        # Premultiplied colours above alpha are invalid and would exceed white.
        scaled = np.minimum(colour, alpha) * opaque
    else:
        scaled = colour * alpha
    scaled += compute_dtype(background) * (opaque - alpha)
    composed: NDArray[Any]
    if is_float:
        composed = scaled / opaque
    else:
        # Adding half the divisor rounds to the nearest integer. The divisor, 2**n - 1,
        # is odd, so there are no ties.
        half = opaque // 2
        composed = (scaled + half) // opaque
    return composed.astype(dtype)


def apply_orientation(
    image: NDArray[Any], layout: str, orientation: int | None, policy: str
) -> NDArray[Any]:
    """Return the image, oriented according to the ``orientation`` policy.

    Parameters
    ----------
    image : ndarray
        Returned unchanged if ``orientation`` is 1 or ``policy`` is "ignore".
    layout : str
        The axes of ``image``, such as "HWC".
    orientation : int or None
        EXIF orientation, 1 to 8; None if its metadata are damaged.
    policy : {"error", "apply", "ignore"}
        "apply" returns a new, contiguous array that is upright.

    Raises
    ------
    ReadError
        If ``orientation`` is None, or if it is not 1 and ``policy`` is "error".
    """
    if orientation == 1 or policy == "ignore":
        return image
    if orientation is None:
        raise ReadError(
            "the orientation metadata of the image are damaged: use "
            "orientation='ignore' to keep the stored pixels"
        )
    if policy == "apply":
        return _undo_orientation(image, layout, orientation)
    raise ReadError(
        f"the stored image is rotated or mirrored (orientation {orientation}): use "
        "orientation='apply' to undo that, or orientation='ignore' to keep the stored "
        "pixels"
    )


def _undo_orientation(
    image: NDArray[Any], layout: str, orientation: int
) -> NDArray[Any]:
    """Return an upright copy of an image with EXIF orientation 2 to 8."""
    height_axis, width_axis = layout.index("H"), layout.index("W")
    # Orientations 5 to 8 store rows as columns. After the axes are swapped back, it
    # remains to mirror one axis, both or none.
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(height_axis, width_axis)
    mirrored_axes = []
    if orientation in (3, 4, 7, 8):
        mirrored_axes.append(height_axis)
    if orientation in (2, 3, 6, 7):
        mirrored_axes.append(width_axis)
    return np.ascontiguousarray(np.flip(image, tuple(mirrored_axes)))
