"""Tables of measured figures in pages that are otherwise written by hand.

A page says where a table belongs with ``<!-- measured: speed -->`` and
``<!-- end of measured -->``. ``python -m benchmarks report`` writes what is in between.
"""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from . import provenance, results
from .results import Record
from .writing import table

PAGES = ("deployment.md", "scale.md", "weights.md")
MARK = re.compile(
    r"(<!-- measured: ([a-z ]+) -->\n).*?(\n<!-- end of measured -->)", re.DOTALL
)

COMMANDS = {
    "job of convert": ("`convert`", ""),
    "job of convert --to webdataset": ("`convert`", " to webdataset"),
    "job of convert --to parquet": ("`convert`", " to parquet"),
    "job of stats": ("`stats`", ""),
}
"""The table that shows a task of the group "jobs", and what it adds to the images."""

WAYS = ("with `ChannelLayer`", "`prepend`", "without a plan")
FOLDED = ("folded", "folded exactly")


def write(docs: Path) -> list[Path]:
    """Write the tables into those of the pages that the folder has; return them."""
    paths = [docs / name for name in PAGES if (docs / name).exists()]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        path.write_text(fill(text), encoding="utf-8")
    return paths


def fill(page: str) -> str:
    """Return the text of a page with the tables of the records."""
    return MARK.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], page)


def speed() -> str:
    """Return how many images a second the commands and the scripts convert."""
    record = _record("jobs")
    tables: dict[str, dict[str, dict[str, list[str]]]] = {}
    for case in record["cases"]:
        facts = case["facts"]
        if facts["task"] in COMMANDS:
            command, output = COMMANDS[facts["task"]]
            count = int(facts["files"])
            images = f"{count:,} {facts['format']}{output}"
            row = tables.setdefault(command, {}).setdefault(images, {})
            row[facts["processes"]] = _rates(case, count)
    parts = (
        *(_table_of_rates(command, rows) for command, rows in tables.items()),
        provenance.measured(
            record, "numpy", "numba", "pillow", "imagecodecs", "simplejpeg"
        ),
        _memory_of_stats(record),
        _ray(),
    )
    return "\n\n".join(parts)


def _table_of_rates(command: str, rows: dict[str, dict[str, list[str]]]) -> str:
    head = [command]
    for processes in ("1 process", "2 processes"):
        head += [f"`graypipe`, {processes}", "script", "ratio"]
    lines = [
        [images, *cells.get("1", [""] * 3), *cells.get("2", [""] * 3)]
        for images, cells in rows.items()
    ]
    return table(head, lines)


def _memory_of_stats(record: Record) -> str:
    (case,) = results.where(record, task="memory of stats")
    sizes = [
        f"{_size(figure['median'])} for {files}"
        for files, figure in case["contenders"].items()
    ]
    return f"While `stats` ran, its memory grew by {' and by '.join(sizes)}."


def _ray() -> str:
    case = _record("convert")["cases"][0]
    seconds = {
        name: _time(figure["median"]) for name, figure in case["contenders"].items()
    }
    text = (
        "Ray takes time to start and to stop: for 2,000 PNG files, `--engine ray` on one machine took "
        f"{seconds['graypipe, Ray on one machine']}, and two processes took {seconds['graypipe']} "
        "(`python -m benchmarks --only convert`)."
    )
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _rates(case: results.Case, count: int) -> list[str]:
    """Return the images a second of graypipe and of the script, and their ratio."""
    seconds = {
        figure["kind"]: figure["median"] for figure in case["contenders"].values()
    }
    rates = [_two_digits(count / seconds[kind]) for kind in ("ours", "peer")]
    return [*rates, f"{seconds['peer'] / seconds['ours']:.1f}"]


def costs() -> str:
    """Return what a file costs."""
    record = _record("large_folders")
    each = record["costs"]
    rows = [
        ["list and sort a name, and read its size", _time(each["list"])],
        ["memory of `convert` for a name, with `--to npy`", _size(each["memory"])],
        ["a line of the manifest", _size(each["manifest"])],
        ["convert a PNG file", _time(each["png"])],
        ["convert a JPEG file", _time(each["jpg"])],
    ]
    return f"{table(['', 'measured'], rows)}\n\n{provenance.measured(record)}"


def millions() -> str:
    """Return what large data sets would cost, computed from the costs of a file."""
    each = _record("large_folders")["costs"]
    head = ("images", "list", "memory for names", "manifest", "convert, 1 core")
    rows = [
        [
            f"{count:,}",
            _time(count * each["list"]),
            _size(count * each["memory"]),
            _size(count * each["manifest"]),
            _time(count * each["png"]),
            _time(count * each["png"] / 100),
        ]
        for count in (1_000_000, 10_000_000, 100_000_000)
    ]
    cores = _two_digits(each["png"] / each["list"])
    text = f"Listing takes as long as converting on {cores} cores."
    return f"{table((*head, 'convert, 100 cores'), rows)}\n\n{text}"


def folds() -> str:
    """Return how many models of each library can be folded, and how exactly."""
    record = _record("fold_zoo")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for fold in record["folds"]:
        groups.setdefault((fold["library"], fold["fold"]), []).append(fold)
    rows = [
        [f"{len(members)} of {library}", kind, *_outcome(members)]
        for (library, kind), members in groups.items()
    ]
    head = ("models", "fold", "equal", "close", "refused")
    errors = ("largest error if equal", "largest error if close")
    return f"{table((*head, *errors), rows, text=2)}\n\n{provenance.measured(record)}"


def _outcome(folds: list[dict[str, Any]]) -> list[str]:
    """Return how many folds are equal, close and refused, and the largest errors."""
    errors: dict[str, list[float]] = {"equal": [], "close": [], "refused": []}
    for fold in folds:
        errors[fold["verdict"]].append(fold.get("error", 0.0))
    counts = [str(len(each)) for each in errors.values()]
    largest = [
        _error(max(errors[verdict])) if errors[verdict] else ""
        for verdict in ("equal", "close")
    ]
    return counts + largest


def exports() -> str:
    """Return the errors of exported models."""
    record = _record("exports")
    columns = [(framework, way) for framework in record["errors"] for way in WAYS]
    return f"{_errors(record, columns)}\n\n{provenance.measured(record)}"


def folded_exports() -> str:
    """Return the errors of exports of folded models."""
    return _errors(_record("exports"), [("torch", way) for way in FOLDED])


def _errors(record: Record, columns: list[tuple[str, str]]) -> str:
    """Return the errors of frameworks and ways to apply the plan, a row for each export."""
    of_columns = [record["errors"][framework][way] for framework, way in columns]
    exports: dict[str, None] = {}
    for errors in of_columns:
        exports |= dict.fromkeys(errors)
    rows = []
    for export in exports:
        cells = [
            _error(errors[export]) if export in errors else "" for errors in of_columns
        ]
        rows.append([export, *cells])
    return table(["export", *(": ".join(column) for column in columns)], rows)


TABLES = {
    "speed": speed,
    "costs": costs,
    "millions": millions,
    "folds": folds,
    "exports": exports,
    "folded exports": folded_exports,
}


def _record(name: str) -> Record:
    path = results.RECORD / f"{name}.json"
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def _error(value: float) -> str:
    """Return a relative error with one digit."""
    return f"{value:.0e}" if value else "0"


def _time(seconds: float) -> str:
    """Return a time with two digits and a suitable unit."""
    for unit, factor in (("µs", 1e-6), ("ms", 1e-3), ("s", 1), ("min", 60)):
        if seconds < 99.5 * factor:
            return f"{_two_digits(seconds / factor)} {unit}"
    return f"{_two_digits(seconds / 3600)} h"


def _size(count: float) -> str:
    """Return a number of bytes with two digits and a suitable unit."""
    for unit, factor in (("bytes", 1), ("kB", 1e3), ("MB", 1e6)):
        if count < 995 * factor:
            return f"{_two_digits(count / factor)} {unit}"
    return f"{_two_digits(count / 1e9)} GB"


def _two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    # Without the precision, 1000000 would become 1e+06.
    return f"{rounded:,.10g}"
