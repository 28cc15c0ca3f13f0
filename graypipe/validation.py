"""What a person declares: checked once, kept frozen as plain numbers."""

from collections.abc import Iterable, Mapping, Set
from math import isfinite
from typing import Any

from .errors import GraypipeError, RangeError


def finite(value: object, what: str, error: type[GraypipeError] = RangeError) -> float:
    """Return ``value`` as a finite Python float without a negative zero; raise ``error`` otherwise."""
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise error(
            f"{what} is a number, and several are a sequence in the order of the bands, got {value!r}"
        )
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise error(f"{what} is one finite number, got {value!r}") from None
    if not isfinite(number):
        raise error(f"{what} is finite, got {number}")
    return number + 0.0


def is_sequence(value: object) -> bool:
    """Whether ``value`` holds several values in an order: a set or a mapping has none that one could rely on."""
    ordered = isinstance(value, Iterable) and not isinstance(
        value, str | bytes | Set | Mapping
    )
    return ordered and getattr(value, "ndim", 1) > 0


def pair(value: object, what: str) -> tuple[float, float]:
    """Return two distinct finite numbers; RangeError otherwise."""
    parts = list(value) if is_sequence(value) else []  # type: ignore[call-overload]
    if len(parts) != 2:
        raise RangeError(
            f"{what} is a pair of numbers, a sequence in that order, got {value!r}"
        )
    first, second = (finite(part, f"an end of {what}") for part in parts)
    if first == second:
        raise RangeError(f"{what} spans at least two values, got {first:g} twice")
    return first, second


def freeze(value: object, **fields: Any) -> None:
    """Set the fields of a frozen dataclass from its constructor, where canonical forms are made."""
    for name, held in fields.items():
        object.__setattr__(value, name, held)
