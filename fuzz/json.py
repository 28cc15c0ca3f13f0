"""The JSON of plans, maps and statistics, changed at random: it loads or raises a GraypipeError."""

import json
import string
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import graypipe as gp

# Texts that a careless or hostile writer may put in the place of any value.
STRANGE_VALUES = (
    "null",
    "true",
    "-0.0",
    "1e999",
    "NaN",
    "-Infinity",
    "1" * 400,
    '""',
    '"nan"',
    '"\\ud800"',
    "[]",
    "{}",
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"bands":["gray"],"bands":["R"]}',
)

# Characters that mean something to a parser of JSON.
CHARACTERS = string.digits + '[]{}",:.-+eE\\ntf\x00é'


@cache
def _examples() -> tuple[tuple[Callable[[str], Any], str], ...]:
    """Return pairs of a loader and a text that it accepts."""
    mix = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": None}
    source = gp.Source("RGBY", "CHW", bits=12, clip=True, nodata=0)
    stats = gp.BandStats(gp.Source("RG"))
    stats.update(np.arange(24, dtype=np.uint8).reshape(3, 4, 2))
    return (
        (gp.Plan.from_json, gp.plan("gray", "imagenet").to_json()),
        (gp.Plan.from_json, gp.plan(source, "openai-clip", mix).to_json()),
        (gp.ChannelMap.from_json, gp.luminance().to_json()),
        (gp.BandStats.from_json, stats.to_json()),
    )


def case(random: np.random.Generator) -> str:
    """Load a changed text; if it loads, it must be equal after a round trip."""
    examples = _examples()
    load, text = examples[random.integers(len(examples))]
    for _ in range(random.integers(1, 4)):
        text = (
            _change_value(text, random)
            if random.random() < 0.8
            else _change_characters(text, random)
        )
    try:
        value = load(text)
    except gp.GraypipeError as error:
        assert len(str(error)) < 600, (
            f"{len(str(error))} characters: {str(error)[:600]}"
        )
        return "refused"
    assert load(value.to_json()) == value
    return "loaded"


def _change_characters(text: str, random: np.random.Generator) -> str:
    """Delete, replace or insert a few characters."""
    start = int(random.integers(len(text) + 1))
    length = int(random.integers(4))
    inserted = "".join(random.choice(list(CHARACTERS), random.integers(4)))
    return text[:start] + inserted + text[start + length :]


def _change_value(text: str, random: np.random.Generator) -> str:
    """Replace, or repeat many times, a random value anywhere in the text."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text
    places = list(_places(record))
    if not places:
        return text
    container, key = places[random.integers(len(places))]
    if random.random() < 0.2:
        container[key] = [container[key]] * int(random.integers(2, 300))
        return json.dumps(record)
    mark = "the value to replace"
    container[key] = mark
    strange = str(random.choice(STRANGE_VALUES))
    return json.dumps(record).replace(f'"{mark}"', strange)


def _places(value: Any) -> Any:
    """Yield (container, key) of every value inside ``value``."""
    if isinstance(value, dict):
        items: Any = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for key, content in items:
        yield value, key
        yield from _places(content)
