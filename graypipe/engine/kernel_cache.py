"""Machine code for the kernels, one piece for each combination of element types, kept on disk by numba."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from . import kernels

COEFFICIENTS = types.Array(types.int64, 2, "C")
BANDS = types.Array(types.int64, 1, "C")


@cache
def general(
    source: np.dtype[Any], compute: np.dtype[Any], target: np.dtype[Any]
) -> Any:
    """Return `kernels.general` as machine code for native element types."""
    numbers = types.Array(numba.from_dtype(compute), 2, "C")
    return _compiled(
        kernels.general, (_read(source), _written(target), COEFFICIENTS, numbers)
    )


@cache
def one_to_three(source: np.dtype[Any], made: np.dtype[Any]) -> Any:
    """Return `kernels.one_to_three` as machine code for native element types."""
    numbers = types.Array(numba.from_dtype(made), 1, "C")
    return _compiled(
        kernels.one_to_three, (_read(source), _written(made), numbers, types.boolean)
    )


@cache
def few_to_three(source: np.dtype[Any], made: np.dtype[Any]) -> Any:
    """Return `kernels.few_to_three` as machine code for native element types."""
    numbers = types.Array(numba.from_dtype(made), 2, "C")
    return _compiled(kernels.few_to_three, (_read(source), _written(made), numbers))


@cache
def copy_bands(unsigned: np.dtype[Any]) -> Any:
    """Return `kernels.copy_bands` as machine code for a native unsigned integer type."""
    return _compiled(kernels.copy_bands, (_read(unsigned), _written(unsigned), BANDS))


@cache
def transpose(unsigned: np.dtype[Any]) -> Any:
    """Return `kernels.transpose` as machine code for a native unsigned integer type."""
    return _compiled(kernels.transpose, (_read(unsigned), _written(unsigned)))


def _read(dtype: np.dtype[Any]) -> types.Array:
    return types.Array(numba.from_dtype(dtype), 3, "A", readonly=True, aligned=False)


def _written(dtype: np.dtype[Any]) -> types.Array:
    return types.Array(numba.from_dtype(dtype), 3, "A", aligned=False)


def _compiled(kernel: Any, signature: tuple[Any, ...]) -> Any:
    """Return the entry point for ``signature``: it takes arrays of any strides, and is spared numba's look at types.

    Processes that fill an empty cache at the same moment may leave another signature's code in it, and a disk may be
    full, or gone since the import; compiling in memory answers both.
    """
    try:
        kernel.compile(signature)
        return kernel.overloads[signature].entry_point
    except (KeyError, OSError):
        alone: Any = numba.njit(nogil=True)(kernel.py_func)
        alone.compile(signature)
        return alone.overloads[signature].entry_point
