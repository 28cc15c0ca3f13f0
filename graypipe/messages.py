"""Texts in error messages: short descriptions of values, and names that are close."""

from collections.abc import Iterable, Mapping, Set
from os import PathLike
from typing import Any

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
        return f"{_type_name(value)} of shape {tuple(shape)}"
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
    if plain in names:
        return names[plain]
    longer_names = [each for each in names if plain in each]
    if len(plain) > 2 and longer_names:
        # Several longer names are equally probable.
        return names[longer_names[0]] if len(longer_names) == 1 else None
    matches = get_close_matches(plain, names, n=2, cutoff=0.75)
    # Equally close names, as B08 and B8A are to B8, are not a suggestion.
    if not matches or len({_similarity(plain, match) for match in matches}) < len(
        matches
    ):
        return None
    return names[matches[0]]


def _similarity(first: str, second: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, first, second).ratio()


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" if ``name`` is close to a known name, else ""."""
    closest = closest_name(name, known) if isinstance(name, str) else None
    if closest is None:
        return ""
    return f" (did you mean {closest!r}?)"


def looks_like_path(value: object) -> bool:
    """Return whether ``value`` is a path or looks like one."""
    if isinstance(value, PathLike):
        return True
    if not isinstance(value, str):
        return False
    _, dot, suffix = value.rpartition(".")
    has_suffix = bool(dot) and suffix.isalnum() and not suffix.isdigit()
    return "/" in value or "\\" in value or has_suffix
