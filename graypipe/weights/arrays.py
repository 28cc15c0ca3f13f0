"""Weights as arrays: what is taken for one, and that a number is never lost on the way into another dtype."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DTypeError, RangeError


def as_array(value: Any, what: str) -> NDArray[Any]:
    """Return ``value`` as an array of numbers, its own memory where it has some; DTypeError where it is none."""
    try:
        array = np.asarray(
            value.detach() if hasattr(value, "detach") else value
        )  # a parameter that is being trained
    except (TypeError, ValueError, RuntimeError) as error:
        raise DTypeError(
            f"{what} is an array or what NumPy makes one of, got {type(value).__name__} ({error}): pass it on the CPU, "
            f"and in float32 where NumPy has no such dtype"
        ) from error
    if array.dtype.kind not in "biufc" and not is_floating(array.dtype):
        raise DTypeError(
            f"{what} is an array of numbers, got {type(value).__name__} of dtype {array.dtype}"
        )
    return array


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` holds floats that float64 holds too: NumPy's own, bfloat16 and float8 of ml_dtypes."""
    return dtype.name.startswith(("float", "bfloat")) and dtype.itemsize <= 8


def in_dtype(array: NDArray[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """Return ``array`` as fresh C-contiguous memory of ``dtype``; RangeError where a finite number overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = array.astype(dtype, order="C")
    lost = np.isfinite(array) & ~np.isfinite(stored)
    if lost.any():
        value = float(array[lost][0])
        raise RangeError(
            f"{what} holds {value:g}, which {dtype} cannot: convert the weights to float32 first"
        )
    return stored
