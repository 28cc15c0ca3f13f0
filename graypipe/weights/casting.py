"""Convert weights to NumPy arrays, with casts that raise on overflow."""

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
        Name of the weight in error messages.

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
            # NumPy does not convert a torch tensor that requires gradients unless it is
            # detached.
            array = np.asarray(value.detach())
        else:
            array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DTypeError(
            f"{name} must convert to a NumPy array, got {type(value).__name__} "
            f"({error}): pass weight.float().cpu(), because NumPy reads memory of the "
            "CPU only and has no bfloat16"
        ) from error
    if array.dtype.kind not in "biufc" and not fits_float64(array.dtype):
        raise DTypeError(
            f"{name} must be an array of numbers, got {type(value).__name__} of dtype "
            f"{array.dtype}"
        )
    return array


def fits_float64(dtype: np.dtype[Any]) -> bool:
    """Return whether ``dtype`` is a floating dtype that float64 can represent exactly.

    True for float16 to float64, and for bfloat16 and the float8 dtypes of ml_dtypes.
    """
    # The dtypes of ml_dtypes have kind "V", so their names are the only indication that
    # they are floating-point types.
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
        Name of the array in error messages.

    Returns
    -------
    ndarray
        Always a new array, even if ``array`` already has ``dtype``.

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
            f"{name} contains {value:g}, which overflows {dtype}: use a wider dtype"
        )
    return converted
