"""Frozen values as canonical JSON: the fields that differ from their defaults, as plain numbers and lists."""

from dataclasses import fields
from math import isnan, nan
from typing import Any

from .errors import ChannelError


def to_record(value: Any) -> dict[str, Any]:
    """Return the fields of ``value`` that differ from those of a value with the same bands and nothing else given."""
    default = type(value)(value.bands)
    names = [part.name for part in fields(value)]
    record = {name: getattr(value, name) for name in names}
    changed = {
        name: held
        for name, held in record.items()
        if name == "bands" or held != getattr(default, name)
    }
    return {
        name: "nan" if isinstance(held, float) and isnan(held) else held
        for name, held in changed.items()
    }


def from_record(cls: Any, record: Any, *needed: str) -> Any:
    """Return the value that `to_record` described; ChannelError for unknown fields and where a ``needed`` one lacks."""
    known = [part.name for part in fields(cls)]
    if not isinstance(record, dict) or not set(needed) <= set(record) <= set(known):
        raise ChannelError(
            f"expected the fields {known} of a {cls.__name__} in the JSON, got {record!r}"
        )
    return cls(
        **{
            name: nan if name == "nodata" and held == "nan" else held
            for name, held in record.items()
        }
    )


def to_text(record: dict[str, Any]) -> str:
    """Return ``record`` as canonical JSON text: sorted keys, no spaces, finite numbers only."""
    import json

    return json.dumps(
        {"format": 1, **record}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def from_text(text: str) -> dict[str, Any]:
    """Return the record in ``text``; ChannelError unless it says ``"format": 1``, ValueError where it is no JSON."""
    import json

    record = json.loads(text)
    if not isinstance(record, dict) or record.pop("format", None) != 1:
        raise ChannelError(
            'expected JSON with "format": 1, written by to_json of this package'
        )
    return record
