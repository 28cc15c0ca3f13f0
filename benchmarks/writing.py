"""Numbers and tables as Markdown."""

from collections.abc import Iterable
from typing import Any


def table(head: Iterable[str], rows: Iterable[Iterable[str]], text: int = 1) -> str:
    """Return a table whose first ``text`` columns are text; the others are aligned right."""
    names = list(head)
    rule = ["---"] * text + ["--:"] * (len(names) - text)
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in [names, rule, *map(list, rows)]
    )


def seconds(value: float) -> str:
    """Return a time with three digits and a suitable unit."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if value * factor < 999.5:
            return f"{_digits(value * factor)} {unit}"
    return f"{_digits(value)} s"


def size(value: float) -> str:
    """Return a number of bytes with three digits."""
    for unit, factor in (("B", 1), ("KiB", 1024)):
        if value < 999.5 * factor:
            return f"{_digits(value / factor)} {unit}"
    return f"{_digits(value / 2**20)} MiB"


def ratio(value: float) -> str:
    """Return a ratio with three digits."""
    return f"{_digits(value)}x"


def quantity(value: float, unit: str) -> str:
    """Return ``value`` in seconds ("s"), bytes ("B") or as a ratio ("x")."""
    return {"s": seconds, "B": size, "x": ratio}[unit](value)


def of_gauge(value: float, gauge: str) -> str:
    """Return ``value`` in the unit of its gauge: seconds or bytes."""
    return seconds(value) if gauge in ("time", "reported") else size(value)


def grid(heads: Iterable[str], cases: list[dict[str, Any]]) -> str:
    """Return contenders by cases, with the best of each case in bold; ``heads`` are the titles of the cases."""
    names = list(dict.fromkeys(name for case in cases for name in case["contenders"]))
    rows = [[name, *(_cell(case, name) for case in cases)] for name in names]
    return table(["", *heads], rows)


def _cell(case: dict[str, Any], name: str) -> str:
    if name not in case["contenders"]:
        return ""
    best = min(figure["median"] for figure in case["contenders"].values())
    median = case["contenders"][name]["median"]
    text = of_gauge(median, case["gauge"])
    return f"**{text}**" if median == best else text


def _digits(value: float) -> str:
    if value == 0 or value >= 99.5:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"
