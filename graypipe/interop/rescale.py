"""Linear rescaling of stored values, inverted exactly.

DICOM and GDAL files record how stored values are converted to physical ones, such as
Hounsfield units or reflectances: ``physical = slope * stored + intercept``. Numbers are
interpreted as exact decimals. A scale of 0.0001 is 1/10000, so that a reflectance of 1
is the stored value 10000, which binary floating point would not give exactly.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..engine import holds
from ..errors import RangeError
from ..validation import as_finite_float


class Rescaling(NamedTuple):
    """The map ``physical = slope * stored + intercept``."""

    slope: Fraction
    intercept: Fraction


IDENTITY = Rescaling(Fraction(1), Fraction(0))


def parse_decimal(value: Any, name: str) -> Fraction:
    """Return the exact fraction for the decimal representation of a number.

    Parameters
    ----------
    value : object
        A number, such as a float or the decimal string (DS) type of pydicom.
    name : str
        Name of the number in error messages.

    Returns
    -------
    Fraction

    Raises
    ------
    RangeError
        If ``value`` is not a single finite number.
    """
    if not as_finite_float(value, name):
        # Also for a value that underflows to 0: as a fraction, 1e-999999999 has a
        # billion digits.
        return Fraction(0)
    try:
        return Fraction(str(value))
    except ValueError:
        raise RangeError(
            f"expected {name} to be a decimal number, got {value!r}"
        ) from None


def parse_rescaling(slope: Any, intercept: Any, name: str) -> Rescaling:
    """Return the rescaling with this slope and intercept.

    Parameters
    ----------
    slope, intercept : object
        Numbers, as accepted by `parse_decimal`.
    name : str
        Name of the rescaling or band in error messages.

    Returns
    -------
    Rescaling

    Raises
    ------
    RangeError
        If a number is not finite, or the slope is 0.
    """
    rescaling = Rescaling(
        parse_decimal(slope, f"the slope of {name}"),
        parse_decimal(intercept, f"the intercept of {name}"),
    )
    if not rescaling.slope:
        raise RangeError(
            f"the slope of {name} is 0, which maps all values to a single value: "
            "correct the slope"
        )
    return rescaling


def to_stored(physical: Iterable[Fraction], rescaling: Rescaling) -> tuple[float, ...]:
    """Return the stored values that a rescaling maps to physical ones.

    Parameters
    ----------
    physical : iterable of Fraction
        The physical values.
    rescaling : Rescaling
        The rescaling to invert.

    Returns
    -------
    tuple of float
        The exact results, each rounded once.

    Raises
    ------
    RangeError
        If a stored value exceeds the range of float64.
    """
    stored = []
    for value in physical:
        exact = (value - rescaling.intercept) / rescaling.slope
        stored.append(as_finite_float(exact, f"the stored value of {float(value):g}"))
    return tuple(stored)


def widen_dtype(dtype: str, values: Iterable[float]) -> str:
    """Return a dtype that holds all ``values``, widened only if needed.

    Parameters
    ----------
    dtype : str
        The dtype of the pixels. Floating dtypes are never widened.
    values : iterable of float
        The values to hold, including the range of the pixels.

    Returns
    -------
    str
        ``dtype`` if it holds the values, otherwise the smallest signed integer dtype
        that does. Signed, because a window usually exceeds the dtype at negative
        values.

    Raises
    ------
    RangeError
        If no integer dtype holds the values.
    """
    values = list(values)
    for candidate in (dtype, "int16", "int32", "int64"):
        if all(holds(np.dtype(candidate), value) for value in values):
            return candidate
    raise RangeError(
        f"no integer type holds the stored values {min(values):g} to {max(values):g} "
        "that the range requires: correct the range, or the slope and intercept"
    )
