"""Tests of pixel values that contradict what the source of an image declares.

The engines test values in the pass that converts them, and report an image whenever it
might be refused. This module then decides, on the whole image, so that the decision and
the error depend neither on the engine nor on how threads split the pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from .numpy_engine import blocks, is_nodata
from .spec import IMPLIED_LIMITS, AffineSpec

Array = NDArray[Any]

# An image of fewer pixels may lie within [0, 1] by chance.
MIN_PIXELS = 64

# At least this many values must be fractions. A few may be left by interpolation if
# almost all other pixels are nodata.
MIN_FRACTIONS = MIN_PIXELS // 2

# Pixels that are searched at a time; most images are decided by the first few.
SEARCHED_PIXELS = 1024


def check_values(
    spec: AffineSpec, dtype: np.dtype[Any], planes: Array, batch_ndim: int = 0
) -> None:
    """Raise RangeError if values contradict the source.

    Parameters
    ----------
    spec : AffineSpec
        Which values to test.
    dtype : numpy.dtype
        The dtype of the image.
    planes : ndarray of shape (bands, pixel axes...)
        Stored values.
    batch_ndim : int
        How many of the first pixel axes count images. Each image is decided by itself,
        so that a batch is refused if and only if one of its images is.
    """
    if spec.check_implied_range:
        extremes = _extremes(spec, dtype, planes).values()
        check_implied_range(
            np.fmin.reduce([lowest for lowest, _ in extremes]),
            np.fmax.reduce([highest for _, highest in extremes]),
        )
    if spec.highest is not None:
        for j, (_, highest) in _extremes(spec, dtype, planes).items():
            check_highest(highest, spec.highest[j])
    if spec.undivided_bands:
        for index in np.ndindex(planes.shape[1 : 1 + batch_ndim]):
            image = planes[(slice(None), *index)]
            if is_divided(spec, dtype, image):
                raise RangeError(divided_message(dtype))


def _missing(spec: AffineSpec, dtype: np.dtype[Any], planes: Array) -> Array:
    """Return the mask of the values that are nodata.

    With one nodata value for all bands, this is the same mask for every band.
    """
    masks = np.zeros(planes.shape, bool)
    for j, nodata in spec.stored_nodata(dtype).items():
        masks[j] = is_nodata(planes[j], nodata)
    if not isinstance(spec.nodata, tuple):
        masks[:] = masks.any(axis=0)
    return masks


def _extremes(
    spec: AffineSpec, dtype: np.dtype[Any], planes: Array
) -> dict[int, tuple[Any, Any]]:
    """Return the extremes of the bands read, except those that are all nodata."""
    is_missing = _missing(spec, dtype, planes)
    extremes = {}
    for j in spec.bands_read:
        values = planes[j][~is_missing[j]]
        if values.size:
            extremes[j] = np.fmin.reduce(values), np.fmax.reduce(values)
    return extremes


def check_implied_range(lowest: float, highest: float) -> None:
    """Raise RangeError if floating values contradict an implied range (0, 1).

    ``lowest`` and ``highest`` are the extremes of the values. NaN raises no error.
    """
    low, high = IMPLIED_LIMITS
    if lowest < low or highest > high:
        guess = ""
        if lowest >= 0 and highest <= 255:
            guess = ", which looks like 0-255"
        raise RangeError(
            "a floating image without a declared range is read as 0 to 1, but holds "
            f"values from {lowest:g} to {highest:g}{guess}: declare range= in the "
            "source, such as gp.Source(..., range=(0, 255))"
        )


def check_highest(highest: float, limit: float) -> None:
    """Raise RangeError if ``highest``, the maximum of integers, is above ``limit``.

    The limit is twice the declared white.
    """
    if highest > limit:
        raise RangeError(above_limit_message(limit, int(highest)))


def is_divided(spec: AffineSpec, dtype: np.dtype[Any], image: Array) -> bool:
    """Return whether an earlier step has apparently divided the values of an image.

    All finite values of the tested bands lie in [0, 1], and half of them or more are
    fractions, which differ within a band. Never true for images of a few pixels, of
    black and white only, or of one colour.

    Parameters
    ----------
    spec : AffineSpec
        Which bands to test, and which values are nodata and therefore ignored.
    dtype : numpy.dtype
        The floating-point dtype of the image.
    image : ndarray of shape (bands, pixel axes...)
        Stored values.
    """
    bands = spec.undivided_bands
    if image[0].size < MIN_PIXELS:
        return False
    fractions, others = 0, 0
    lowest, highest = dict.fromkeys(bands, 1.0), dict.fromkeys(bands, 0.0)
    for block in blocks(image.shape[1:], SEARCHED_PIXELS):
        planes = image[(slice(None), *block)]
        is_counted = np.isfinite(planes) & ~_missing(spec, dtype, planes)
        for j in bands:
            x = planes[j][is_counted[j]]
            if ((x < 0) | (x > 1)).any():
                return False
            inner = x[(x > 0) & (x < 1)]
            fractions += inner.size
            others += x.size - inner.size
            lowest[j] = min(lowest[j], inner.min(initial=1))
            highest[j] = max(highest[j], inner.max(initial=0))
    varies = any(lowest[j] < highest[j] for j in bands)
    return varies and fractions >= max(others, MIN_FRACTIONS)


def divided_message(dtype: np.dtype[Any]) -> str:
    """Return the error message for an image that `is_divided`."""
    return (
        "the source declares a range wider than 2, but all values of the image lie "
        "between 0 and 1, most of them fractions: an earlier step has already divided "
        "them, such as ToDtype(scale=True), ToFloat or convert_image_dtype. Remove "
        "that step, or, if it has divided by white, declare range=(0, 1). If the files "
        f"store such values, declare dtype=np.{dtype.name} beside the range in the "
        "source"
    )


def above_limit_message(limit: float, highest: int | None = None) -> str:
    """Return the error message for integers above ``limit``, twice the declared white.

    ``highest`` is their maximum, or None if the message is written before the pixels
    are known, for a graph.
    """
    if highest is None:
        extent, advice = f"above {limit:.0f}", "those of the highest value, such as "
        bits = 16
    else:
        extent, advice = f"up to {highest}", ""
        bits = highest.bit_length()
    return (
        f"the source declares a white of {limit / 2:.0f}, but the image holds integers "
        f"{extent}. If its values have more bits, declare {advice}bits={bits} or "
        f"range=(0, {2**bits - 1}) in the source. If an earlier step changed the "
        "intensities, move it behind a plan to the preset 'unit'. To convert all "
        "values above white as white, declare clip=True"
    )
