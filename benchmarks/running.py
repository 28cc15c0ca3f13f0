"""Runs a group: each case is built, checked, measured and freed before the next one is built."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from . import groups, machine, memory, results, survival, timing
from .case import Case, admit
from .scale import Scale

GAUGES = {
    "time": timing.measure,
    "reported": timing.collect,
    "held": memory.held,
    "extra": memory.extra,
    "resident": memory.resident,
}


def run(group: str, scale: Scale, done: Callable[[str], object]) -> results.Record:
    """Return the record of ``group``; ``done`` is called with the name of each measured case."""
    return {
        "format": 1,
        "group": group,
        "scale": scale.name,
        "date": datetime.now(UTC).date().isoformat(),
        "threads": 1,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "cases": list(_measured(group, scale, done)),
        "survival": survival.outcomes() if group == "zero_copy" else [],
    }


def _measured(
    group: str, scale: Scale, done: Callable[[str], object]
) -> Iterator[dict[str, Any]]:
    for build in groups.cases(group, scale):
        case = build()
        yield measured(case, scale)
        done(case.name)


def measured(case: Case, scale: Scale) -> dict[str, Any]:
    """Return what the result file says about ``case``."""
    case = admit(case)
    figures = GAUGES[case.gauge](case.contenders, scale)
    return {
        "name": case.name,
        "facts": case.facts,
        "gauge": case.gauge,
        "contenders": {
            name: {"kind": case.kind(name), **figure._asdict()}
            for name, figure in figures.items()
        },
        "left_out": case.left_out,
    }
