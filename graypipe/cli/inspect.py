"""``graypipe inspect``: say what image files are, how they would be read, and what looks wrong."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import ReadError
from .findings import UNKNOWN, Record, examine, files, size
from .progress import progress
from .tally import Tally

ROW = "{:7} {:11} {:11} {:8} {:6} {:15} {}"
HEAD = ("FORMAT", "MODE", "SIZE", "DTYPE", "BANDS", "VALUES", "FILE")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a file, or a folder with all below it",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON, a file a line, instead of a table",
    )


def run(options: Namespace) -> None:
    """Print a record of every file and what they have in common; ReadError where one cannot be read as it is."""
    tally = Tally()
    named = set(options.paths)
    total = sum(1 for _ in files(*options.paths)) if sys.stderr.isatty() else 0
    with progress(total, sys.stdout) as (advance, say):
        records = _counted(
            (examine(path, path in named) for path in files(*options.paths)),
            tally,
            advance,
        )
        for line in (_json if options.json else _table)(records, tally):
            say(line)
    if tally.errors:
        raise ReadError(
            f"{tally.errors} of {tally.kinds.total()} files cannot be read as they are"
        )


def _counted(
    records: Iterable[Record], tally: Tally, advance: Callable[[int], object]
) -> Iterator[Record]:
    for record in records:
        tally.add(record)
        yield record
        advance(1)


def _json(records: Iterable[Record], tally: Tally) -> Iterator[str]:
    yield '{"files": ['
    between = ""
    for record in records:
        yield f"{between}{json.dumps(record, allow_nan=False)}"
        between = ","
    yield f'], "summary": {json.dumps(tally.summary(), allow_nan=False)}}}'


def _table(records: Iterable[Record], tally: Tally) -> Iterator[str]:
    yield ROW.format(*HEAD)
    for record in records:
        if record["kind"] != "no image":
            yield _printable(ROW.format(*_cells(record), record["path"]))
            error = (
                [f"cannot be read: {record['error'].removeprefix('cannot be read ')}"]
                if record["error"]
                else []
            )
            yield from (
                _printable(f"        {line}") for line in [*error, *record["notes"]]
            )
    summary = tally.summary()
    yield ""
    yield (
        ", ".join(f"{kind}: {number}" for kind, number in summary["kinds"].items())
        or "no files"
    )
    yield from map(_printable, summary["notes"])


def _cells(record: Record) -> Iterator[str]:
    """Return what stands in front of the name of the file, as far as it is known."""
    bands = record["source"]["bands"] if "source" in record else ()
    yield from (record.get(what, UNKNOWN) for what in ("format", "mode"))
    yield size(record)
    yield record.get("dtype", UNKNOWN)
    yield (
        "".join(bands)
        if bands == ("gray",) or 0 < len("".join(bands)) <= 6
        else str(record.get("bands") or UNKNOWN)
    )
    yield (
        "..".join(
            f"{value:.6g}" for value in record.get("values", ()) if value is not None
        )
        or UNKNOWN
    )


def _printable(text: str) -> str:
    """Return ``text`` as one line that any terminal takes: file names hold every byte but a slash."""
    plain = "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text
    )
    encoding = sys.stdout.encoding or "utf-8"
    return plain.encode(encoding, "backslashreplace").decode(encoding)
