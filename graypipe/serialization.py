"""Canonical JSON for frozen dataclasses.

A record contains only the fields that differ from their defaults, as plain numbers
and lists. Keys are sorted, so equal values are serialised to identical text.
"""

from dataclasses import fields
from math import isnan, nan
from typing import Any

from .errors import ChannelError
from .messages import describe_value

# Version of the JSON format. Text with another version, or without one, is rejected.
FORMAT = 1


def to_record(value: Any) -> dict[str, Any]:
    """Return the fields of a `Source` or `Target` that differ from the defaults.

    Parameters
    ----------
    value : Source or Target

    Returns
    -------
    dict
        ``bands`` is always present. NaN becomes the string ``"nan"``, because JSON has
        no NaN.
    """
    default = type(value)(value.bands)
    record = {}
    for field in fields(value):
        content = getattr(value, field.name)
        if field.name != "bands" and content == getattr(default, field.name):
            continue
        record[field.name] = without_nan(content)
    return record


def without_nan(value: Any) -> Any:
    """Return ``value`` with "nan" in place of NaN, also inside a tuple."""
    if isinstance(value, tuple):
        return tuple(without_nan(item) for item in value)
    if isinstance(value, float) and isnan(value):
        return "nan"
    return value


def _with_nan(value: Any) -> Any:
    """Return ``value`` with NaN in place of "nan", also inside a list."""
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    if value == "nan":
        return nan
    return value


def from_record(cls: Any, record: Any, *required: str) -> Any:
    """Build an instance of ``cls`` from the record of its fields.

    Parameters
    ----------
    cls : type
        A dataclass whose constructor accepts its fields as keywords.
    record : object
        The decoded JSON. It must be a dict in the form returned by `to_record`.
    *required : str
        Fields that must be present.

    Returns
    -------
    object
        An instance of ``cls``.

    Raises
    ------
    ChannelError
        If ``record`` is not a dict, has an unknown field or lacks a required one.
    """
    field_names = [field.name for field in fields(cls)]
    is_valid = (
        isinstance(record, dict)
        and set(record) >= set(required)
        and set(record) <= set(field_names)
    )
    if not is_valid:
        optional = [name for name in field_names if name not in required]
        raise ChannelError(
            f"expected a JSON object for {cls.__name__} with the fields "
            f"{list(required)} and optionally {optional}, got {describe_value(record)}"
        )
    arguments = dict(record)
    if "nodata" in arguments:
        arguments["nodata"] = _with_nan(arguments["nodata"])
    return cls(**arguments)


def to_text(record: dict[str, Any]) -> str:
    """Return ``record`` as canonical JSON: sorted keys, no spaces, finite numbers."""
    # Imported here to keep `import graypipe` fast.
    import json

    return json.dumps(
        {"format": FORMAT, **record},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )


def from_text(text: str) -> dict[str, Any]:
    """Parse the JSON written by `to_text`.

    Returns
    -------
    dict
        The record, without its ``"format"`` entry.

    Raises
    ------
    ChannelError
        If the text is not JSON, or not an object with ``"format": 1``.
    """
    record = _parse(text)
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        raise ChannelError(
            f'expected a JSON object with "format": {FORMAT}, as written by to_json'
        )
    return record


def _parse(text: str) -> Any:
    """Return the value of strict JSON.

    Unlike ``json.loads``, refuse NaN and infinities, and objects that repeat a key.

    Raises
    ------
    ChannelError
        If the text is not JSON. The message states the place, or what is repeated.
    """
    import json

    try:
        return json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except RecursionError:
        problem = "it is nested too deeply"
    # A ValueError also reports integers with thousands of digits.
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise ChannelError(f"expected JSON text, as written by to_json: {problem}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object with these members, or raise ValueError for a repeated key."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is repeated in an object")
    return content


def _refuse_constant(name: str) -> float:
    """Raise ValueError for NaN, Infinity and -Infinity."""
    raise ValueError(f"{name} is not JSON")
