"""Turn a plan into a layer of a model: the part that torch and Keras share."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DTypeError, LayoutError
from ...messages import describe_value
from ...plan import Plan
from ...plan import plan as build_plan
from ...plans import check_plan
from ...target import Target
from .declared_range import check_range_declared

# The largest n such that the dtype represents every integer from 0 to n exactly: 2**p,
# where p is the precision of the significand including the implicit bit (11 and 8).
MAX_EXACT_INTEGER = {"float16": 2048, "bfloat16": 256}


def check_layer(
    plan: Plan, trainable: bool, kernel_size: int, *, reason: str, alternative: str
) -> None:
    """Check the arguments of a ChannelLayer.

    Parameters
    ----------
    plan, trainable, kernel_size
        The arguments.
    reason : str
        Why the range must be declared, as for `check_range_declared`.
    alternative : str
        What to use for a plan with an integer target, for the error message.

    Raises
    ------
    DTypeError
        If ``plan`` is not a plan, or its target is not floating-point.
    RangeError
        If the source does not declare its range.
    LayoutError
        If ``kernel_size`` is not an odd positive integer, or greater than 1 without
        ``trainable``.
    """
    check_plan(plan)
    check_range_declared(plan, reason)
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            "expected a plan with a floating-point target, because a layer cannot "
            f"round, got {plan.target.dtype}: use dtype='float32' for the target, or "
            f"{alternative}"
        )
    is_integer = isinstance(kernel_size, int) and not isinstance(kernel_size, bool)
    if not is_integer or kernel_size < 1 or kernel_size % 2 == 0:
        raise LayoutError(
            "expected kernel_size to be an odd positive integer, which preserves "
            f"height and width, got {describe_value(kernel_size)}: pass 1, 3 or 5"
        )
    if kernel_size > 1 and not trainable:
        raise LayoutError(
            f"kernel_size={kernel_size} needs trainable=True: only a trainable layer "
            "reads neighbouring pixels"
        )


def largest_magnitude(plan: Plan) -> float:
    """Return the largest magnitude among black, white and nodata of the source."""
    pairs = plan.source._pairs(None)
    nodata = [value or 0 for value in plan.source._nodata_values]
    values = [*chain.from_iterable(pairs), *nodata]
    # nodata may be NaN, which every floating-point dtype represents.
    return float(np.nanmax(np.abs(values)))


def layer_dtype(plan: Plan) -> str:
    """Return the dtype in which a layer computes and stores its weights.

    A float16 target also uses float32, because small updates of float16 weights would
    round to 0.
    """
    if plan.target.dtype == "float64":
        return "float64"
    return "float32"


def unit_plan(plan: Plan) -> Plan:
    """Return the plan that runs before the convolution of a trainable layer.

    It applies nodata and clip, and converts stored values to unit intensities, 0 for
    black and 1 for white. nodata becomes 0, which is black.
    """
    target = Target(plan.source.bands, plan.target.layout, layer_dtype(plan))
    return build_plan(plan.source, target)


def initial_weights(plan: Plan, kernel_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the weights of a convolution that equals the affine part of ``plan``.

    The convolution reads unit intensities.

    Returns
    -------
    kernel : ndarray of shape (bands out, bands in, kernel_size, kernel_size)
        The matrix of the plan at the centre tap, 0 elsewhere.
    bias : ndarray of shape (bands out,)
        The offset of the plan.
    """
    dtype = layer_dtype(plan)
    matrix = np.array(plan.unit_map.matrix, dtype)
    bias = np.array(plan.unit_map.offset, dtype)
    kernel = np.zeros((*matrix.shape, kernel_size, kernel_size), dtype)
    centre = kernel_size // 2
    kernel[:, :, centre, centre] = matrix
    return kernel, bias
