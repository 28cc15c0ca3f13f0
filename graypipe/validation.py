"""Validate arguments, and set fields of frozen dataclasses."""

from collections.abc import Iterable, Mapping, Sequence, Set
from math import isfinite
from typing import Any

from .errors import ChannelError, GraypipeError, RangeError
from .messages import describe_value


def as_finite_float(
    value: object, name: str, error: type[GraypipeError] = RangeError
) -> float:
    """Return ``value`` as a finite Python float.

    Parameters
    ----------
    value : object
        Anything with ``__float__`` except strings.
    name : str
        Name of the value in the error message, such as ``"nodata"``.
    error : type of GraypipeError
        The exception to raise.

    Returns
    -------
    float
        Never -0.0, so that equal declarations have equal JSON.

    Raises
    ------
    GraypipeError
        If ``value`` is not a finite number. The class is ``error``.
    """
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise error(f"expected {name} to be a number, got {describe_value(value)}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise error(
            f"expected {name} to be a finite number, got {describe_value(value)}"
        ) from None
    if not isfinite(number):
        raise error(f"expected {name} to be a finite number, got {number}")
    return number + 0.0  # turns -0.0 into 0.0


def is_ordered_iterable(value: object) -> bool:
    """Return whether ``value`` is an iterable with a defined order.

    Strings count as scalars. Sets and mappings do not have a meaningful order. A 0-d
    array has the method ``__iter__`` but is a scalar.
    """
    if isinstance(value, str | bytes | Set | Mapping):
        return False
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def is_sequence_of_pairs(value: object) -> bool:
    """Return whether ``value`` holds pairs, one per band, rather than one pair."""
    if not is_ordered_iterable(value):
        return False
    parts: Any = value
    return all(is_ordered_iterable(part) for part in parts)


def as_pair(value: object, name: str) -> tuple[float, float]:
    """Return ``value`` as two distinct finite numbers.

    Parameters
    ----------
    value : object
        A sequence of two numbers.
    name : str
        Name of the pair in the error message.

    Returns
    -------
    tuple of float

    Raises
    ------
    RangeError
        If ``value`` is not a sequence of two distinct finite numbers.
    """
    parts = list(value) if is_ordered_iterable(value) else []  # type: ignore[call-overload]
    if len(parts) != 2:
        raise RangeError(
            f"expected {name} to be a pair of numbers, got {describe_value(value)}"
        )
    first = as_finite_float(parts[0], f"the first value of {name}")
    second = as_finite_float(parts[1], f"the second value of {name}")
    if first == second:
        raise RangeError(
            f"expected {name} to be two distinct values, got {first:g} twice"
        )
    return first, second


def check_nodata_count(count: int, band_count: int) -> None:
    """Raise ChannelError unless ``nodata`` has one value for each band."""
    if count != band_count:
        raise ChannelError(
            f"expected nodata to be one value, or {band_count} values, one per band "
            f"(None for bands without one), got {count}"
        )


def merge_nodata(values: Sequence[Any]) -> Any:
    """Return the nodata value that all bands share, or one per band if they differ."""
    # Compare by repr, because NaN is a common nodata value and does not equal itself.
    if len({repr(value) for value in values}) > 1:
        return tuple(values)
    return values[0]


def set_fields(instance: object, **fields: Any) -> None:
    """Set fields of a frozen dataclass, in its constructor."""
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
