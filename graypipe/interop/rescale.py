"""Rescaled values, such as Hounsfield units or reflectances, carried back to the stored ones.

Numbers count as they are written, in decimal: a scale of 0.0001 is 1/10000. With it a reflectance of 1 is the stored
10000, not its neighbour in binary.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from ..engine import holds
from ..errors import RangeError
from ..validation import finite

Line = tuple[Fraction, Fraction]
"""(slope, intercept) of rescaled = slope · stored + intercept."""

UNSCALED: Line = (Fraction(1), Fraction(0))


def exact(value: Any, what: str) -> Fraction:
    """Return the number ``value`` as it is written; RangeError where it is none, or not finite."""
    if not finite(value, what):  # also what underflows, such as 1e-999999999
        return Fraction(0)
    try:
        return Fraction(str(value))
    except ValueError:
        raise RangeError(f"{what} is a number in decimal, got {value!r}") from None


def line(slope: Any, intercept: Any, what: str) -> Line:
    """Return the line of ``slope`` and ``intercept``; RangeError for a slope of 0."""
    rise, start = (
        exact(slope, f"the slope of {what}"),
        exact(intercept, f"the intercept of {what}"),
    )
    if not rise:
        raise RangeError(
            f"the slope of {what} is 0, which leaves one value of all: correct it"
        )
    return rise, start


def to_stored(ends: Iterable[Fraction], line: Line) -> tuple[float, ...]:
    """Return the stored values, rounded once, that ``line`` rescales to ``ends``."""
    slope, intercept = line
    return tuple(
        finite((end - intercept) / slope, f"the stored value of {float(end):g}")
        for end in ends
    )


def wide_enough(dtype: str, values: Iterable[float]) -> str:
    """Return ``dtype``, or the smallest signed integer type that holds what it holds of ``values`` and the rest too."""
    wanted = list(values)
    for wider in (dtype, "int16", "int32", "int64"):
        if all(holds(np.dtype(wider), value) for value in wanted):
            return wider
    raise RangeError(
        f"no integer type holds the stored values {min(wanted):g} to {max(wanted):g} that the range needs: correct the "
        f"range, or the slope and intercept"
    )
