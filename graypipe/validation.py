"""Validate arguments, and set fields of frozen dataclasses."""

from collections.abc import Iterable, Mapping, Set
from math import isfinite
from typing import Any

from .errors import GraypipeError, RangeError


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
        raise error(f"expected {name} to be a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise error(f"expected {name} to be a finite number, got {value!r}") from None
    if not isfinite(number):
        raise error(f"expected {name} to be a finite number, got {number}")
    return number + 0.0  # turns -0.0 into 0.0


# Longest text of a value in an error message
LONGEST_VALUE = 60


def describe_value(value: Any) -> str:
    """Return a short text for an argument in an error message; never print data.

    Examples
    --------
    >>> describe_value("resnet50"), describe_value([1, 2]), describe_value([0] * 99)
    ("'resnet50'", '[1, 2]', 'a list of 99 elements')
    """
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{_type_name(value)} of shape {shape}"
    text = None
    if value is None or isinstance(value, str | bytes | int | float):
        text = repr(value[:99] if isinstance(value, str | bytes) else value)
    elif isinstance(value, list | tuple | Set | Mapping):
        if not all(isinstance(part, str | int | float) for part in value):
            return f"{_type_name(value)} of {len(value)} elements"
        text = repr(value)
        if len(text) > LONGEST_VALUE:
            return f"{_type_name(value)} of {len(value)} elements"
    elif hasattr(value, "__name__"):
        text = f"{getattr(value, '__module__', 'module')}.{value.__name__}"
    if text is None:
        return _type_name(value)
    if len(text) > LONGEST_VALUE:
        return text[: LONGEST_VALUE - 3] + "..."
    return text


def _type_name(value: object) -> str:
    """Return the type of ``value`` with an article, such as "a torch.Tensor"."""
    kind = type(value)
    name = kind.__name__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__.split('.')[0]}.{name}"
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"{article} {name}"


def plain_name(name: str) -> str:
    """Return ``name`` in lower case, without spaces, hyphens and underscores."""
    return name.lower().translate({ord(mark): None for mark in " -_"})


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` most probably means, or None.

    Case, hyphens and underscores are ignored. A name that is part of one known name is
    close to it, as "clip" to "openai-clip".
    """
    # Imported here to keep `import graypipe` fast.
    from difflib import get_close_matches

    names = {plain_name(each): each for each in known}
    plain = plain_name(name)[:99]
    longer_names = [each for each in names if plain in each]
    if len(plain) > 2 and longer_names:
        # Several longer names are equally probable.
        return names[longer_names[0]] if len(longer_names) == 1 else None
    matches = get_close_matches(plain, names, n=1, cutoff=0.75)
    return names[matches[0]] if matches else None


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
        raise RangeError(f"expected {name} to be a pair of numbers, got {value!r}")
    first = as_finite_float(parts[0], f"the first value of {name}")
    second = as_finite_float(parts[1], f"the second value of {name}")
    if first == second:
        raise RangeError(
            f"expected {name} to be two distinct values, got {first:g} twice"
        )
    return first, second


def set_fields(instance: object, **fields: Any) -> None:
    """Set fields of a frozen dataclass, in its constructor."""
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
