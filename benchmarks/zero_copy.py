"""The page of the zero-copy study: prose from ``zero_copy.md``, figures from the results."""

from collections import Counter
from string import Template
from typing import Any

from . import provenance, results
from .results import Record, where
from .writing import grid, ratio, seconds, table

VIEW, COPY, FUSED = "graypipe, view", "graypipe, copy", "graypipe, fused"
FOLDED, LATE = "graypipe, folded into the kernel", "graypipe, expanded late"
INSTEAD = (FUSED, FOLDED, LATE, "graypipe, fused before the queue")
SHOWN = "1024"


def page(record: Record) -> str:
    """Return the page for ``record``, the results of the group ``zero_copy``."""
    template = Template((results.HERE / "zero_copy.md").read_text(encoding="utf-8"))
    outcome = Counter(row["outcome"] for row in record["survival"])
    return template.substitute(
        warning=provenance.warning([record]),
        machine=provenance.machine(record),
        alone=_by_size(where(record, "time", consumer="alone")),
        held=_by_size(where(record, "held", consumer="alone")),
        consumed="\n".join(_consumed(record)),
        peaks=_by_consumer(where(record, "resident")),
        survival=_survival(record),
        steps=sum(outcome.values()),
        shared=outcome["shared"],
        thin=outcome["one band"],
        copied=outcome["copied"],
        refused=outcome["refused"],
        **_rules(record),
    )


def _by_size(cases: list[dict[str, Any]]) -> str:
    """Return contenders by sizes, the best of each size in bold."""
    heads = [f"{case['facts']['size']}²".replace("x224²", " x 224²") for case in cases]
    return grid(heads, cases) + "\n"


def _by_consumer(cases: list[dict[str, Any]]) -> str:
    return grid([case["facts"]["consumer"] for case in cases], cases) + "\n"


def _consumed(record: Record) -> list[str]:
    cases = [
        case for case in where(record, "time") if case["facts"]["consumer"] != "alone"
    ]
    consumers = dict.fromkeys(case["facts"]["consumer"] for case in cases)
    return [
        f"{consumer}:\n\n{_by_size([case for case in cases if case['facts']['consumer'] == consumer])}"
        for consumer in consumers
    ]


def _survival(record: Record) -> str:
    rows = [
        (row["consumer"], row["outcome"], row["detail"]) for row in record["survival"]
    ]
    return table(("step", "result", "strides or error"), rows, text=3)


def _rules(record: Record) -> dict[str, str]:
    """Return the figures that the rules of thumb quote."""
    shown = {
        case["facts"]["consumer"]: _medians(case)
        for case in where(record, "time", size=SHOWN)
    }
    alone = shown.pop("alone")
    refused = [
        row["consumer"] for row in record["survival"] if row["outcome"] == "refused"
    ]
    return {
        "view_time": seconds(alone[VIEW]),
        "copy_time": seconds(_fastest_copy(alone)),
        "repeat_time": seconds(alone["np.repeat"]),
        "refused_steps": ", ".join(refused),
        "views": "; ".join(
            f"{name} {ratio(times[VIEW] / _fastest_copy(times))}"
            for name, times in shown.items()
        ),
        "fuse": _gains(shown, FUSED),
        "late": _gains(shown, LATE),
        "fold": _gains(shown, FOLDED),
    }


def _gains(shown: dict[str, dict[str, float]], instead: str) -> str:
    """Return, for every consumer that has ``instead``, its time beside the fastest copy's and the view's."""
    rows = [
        (consumer, *map(seconds, (times[instead], _fastest_copy(times), times[VIEW])))
        for consumer, times in shown.items()
        if instead in times
    ]
    return table(
        ("with", instead.removeprefix("graypipe, "), "fastest copy", "view"), rows
    )


def _medians(case: dict[str, Any]) -> dict[str, float]:
    return {name: figure["median"] for name, figure in case["contenders"].items()}


def _fastest_copy(times: dict[str, float]) -> float:
    return min(median for name, median in times.items() if name not in (VIEW, *INSTEAD))
