"""Layers: what a plan must be to become one, and what a trainable one starts from; what torch and Keras share."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DTypeError, LayoutError
from ...plan import Plan
from ...plan import plan as build_plan
from ...target import Target
from .plan_choice import check_range_declared, index_by_band_count

MAX_EXACT_INTEGER = {"float16": 2048, "bfloat16": 256}
"""The greatest whole number up to which each of them holds all: 2 to the bits of its significand."""


def check_layer(
    plan: Plan, trainable: bool, kernel_size: int, *, why: str, instead: str
) -> None:
    """Raise DTypeError, RangeError or LayoutError unless ``plan`` and ``kernel_size`` make a layer.

    ``why`` says who may cast the pixels before the layer sees them, ``instead`` what takes a plan that rounds.
    """
    index_by_band_count((plan,))
    check_range_declared(plan, why)
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            f"a layer does not round: expected a target of floats, got {plan.target.dtype}; give the target "
            f"dtype='float32', or {instead}"
        )
    if (
        isinstance(kernel_size, bool)
        or not isinstance(kernel_size, int)
        or kernel_size < 1
        or kernel_size % 2 == 0
    ):
        raise LayoutError(
            f"kernel_size is an odd positive integer, so that H and W stay, got {kernel_size!r}"
        )
    if kernel_size > 1 and not trainable:
        raise LayoutError(
            f"only a trainable layer looks at neighbours: kernel_size={kernel_size} needs trainable=True"
        )


def largest_level(plan: Plan) -> float:
    """Return the greatest magnitude among the levels that the source of ``plan`` declares."""
    levels = [*chain.from_iterable(plan.source._pairs(None)), plan.source.nodata or 0]
    return float(np.nanmax(np.abs(levels)))


def layer_dtype(plan: Plan) -> str:
    """Return the dtype that a layer computes in and learns in: float64 where the target is, else float32."""
    return "float64" if plan.target.dtype == "float64" else "float32"


def unit_plan(plan: Plan) -> Plan:
    """Return what stands before the affine part of ``plan``: its guards, and stored values as unit intensities.

    nodata is 0 there, which is black.
    """
    return build_plan(
        plan.source, Target(plan.source.bands, plan.target.layout, layer_dtype(plan))
    )


def initial_weights(plan: Plan, kernel_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return kernel (O, I, k, k) and bias (O,) of a convolution on unit intensities that is the affine part of it."""
    matrix, offset = (
        np.array(part, layer_dtype(plan))
        for part in (plan.unit_map.matrix, plan.unit_map.offset)
    )
    kernel = np.zeros((*matrix.shape, kernel_size, kernel_size), matrix.dtype)
    kernel[:, :, kernel_size // 2, kernel_size // 2] = matrix
    return kernel, offset
