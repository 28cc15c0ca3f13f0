"""Machine code for the kernels, one piece for each combination of element types, kept on disk by numba."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from . import numba_affine, numba_few, numba_moves

COEFFICIENTS = types.Array(types.int64, 2, "C")
BANDS = types.Array(types.int64, 1, "C")


@cache
def affine(source: np.dtype[Any], compute: np.dtype[Any], target: np.dtype[Any]) -> Any:
    """Return `numba_affine.affine` as machine code for native element types."""
    numbers = types.Array(numba.from_dtype(compute), 2, "C")
    return _compiled(
        numba_affine.affine, (_read(source), _written(target), COEFFICIENTS, numbers)
    )


@cache
def spread(source: np.dtype[Any], made: np.dtype[Any]) -> Any:
    """Return `numba_few.spread` as machine code for native element types."""
    numbers = types.Array(numba.from_dtype(made), 1, "C")
    return _compiled(
        numba_few.spread, (_read(source), _written(made), numbers, types.boolean)
    )


@cache
def blend(source: np.dtype[Any], made: np.dtype[Any]) -> Any:
    """Return `numba_few.blend` as machine code for native element types."""
    numbers = types.Array(numba.from_dtype(made), 2, "C")
    return _compiled(numba_few.blend, (_read(source), _written(made), numbers))


@cache
def move(unsigned: np.dtype[Any]) -> Any:
    """Return `numba_moves.move` as machine code for a native unsigned integer type."""
    return _compiled(numba_moves.move, (_read(unsigned), _written(unsigned), BANDS))


@cache
def turn(unsigned: np.dtype[Any]) -> Any:
    """Return `numba_moves.turn` as machine code for a native unsigned integer type."""
    return _compiled(numba_moves.turn, (_read(unsigned), _written(unsigned)))


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
