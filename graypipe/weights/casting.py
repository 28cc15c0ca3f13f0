"""Conversion of weights to NumPy arrays, and casts that never overflow silently."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DTypeError, RangeError


def as_array(value: Any, name: str) -> NDArray[Any]:
    """Return a weight as a numeric array.

    Parameters
    ----------
    value : array_like
        An array, or anything `numpy.asarray` converts, such as a tensor on the CPU.
    name : str
        What error messages call the weight.

    Returns
    -------
    ndarray
        A view of the memory of ``value`` if NumPy can share it, otherwise a copy.

    Raises
    ------
    DTypeError
        If ``value`` does not convert to an array of numbers.
    """
    try:
        if hasattr(value, "detach"):
            # NumPy refuses a torch tensor that requires gradients until it is detached.
            array = np.asarray(value.detach())
        else:
            array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DTypeError(
            f"{name} must convert to a NumPy array, got {type(value).__name__} "
            f"({error}): pass it on the CPU, and in float32 if NumPy lacks its dtype"
        ) from error
    if array.dtype.kind not in "biufc" and not is_floating(array.dtype):
        raise DTypeError(
            f"{name} must be an array of numbers, got {type(value).__name__} of dtype "
            f"{array.dtype}"
        )
    return array


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Return whether float64 represents every value of the floating type ``dtype``.

    True for float16 to float64, and for bfloat16 and the float8 types of ml_dtypes.
    """
    # The types of ml_dtypes have kind "V", so only their names tell that they float.
    return dtype.name.startswith(("float", "bfloat")) and dtype.itemsize <= 8


def cast(array: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Return a C-contiguous copy of an array in another dtype.

    Parameters
    ----------
    array : ndarray
        The values to cast.
    dtype : numpy.dtype
        The dtype of the result.
    name : str
        What error messages call the array.

    Returns
    -------
    ndarray
        Always fresh memory, even if ``array`` already has ``dtype``.

    Raises
    ------
    RangeError
        If a finite value overflows ``dtype``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype, order="C")
    overflows = np.isfinite(array) & ~np.isfinite(converted)
    if overflows.any():
        value = float(array[overflows][0])
        raise RangeError(
            f"{name} contains {value:g}, which overflows {dtype}: convert the weights "
            f"to float32 first"
        )
    return converted
