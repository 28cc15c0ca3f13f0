"""``graypipe inspect``: list image files, how they are read, and likely problems.

    graypipe inspect scans/ extra.tif
    graypipe inspect scans/ --json > report.json
    graypipe inspect tiles/ --sensor sentinel-2-l2a

The output is a table with one line per file and a summary, or JSON.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import ReadError
from ..sensor import Sensor
from .examine import Record, bit_depth_notes, examine
from .image_files import list_files
from .progress import progress_bar
from .sensor_statistics import SensorStatistics, parse_sensor

# Shown in the table for unknown values.
UNKNOWN = "-"

ROW = "{:7} {:11} {:11} {:8} {:6} {:15} {}"
HEADER = ("FORMAT", "MODE", "SIZE", "DTYPE", "BANDS", "VALUES", "FILE")

# Maximum total length of the band names shown in the table.
MAX_BANDS_WIDTH = 6

# Maximum number of distinct values of a property that the summary lists.
MAX_LISTED_VALUES = 4


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="an image file, or a folder with its subfolders, for example scans/",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON with one file per line instead of a table",
    )
    parser.add_argument(
        "--sensor",
        type=parse_sensor,
        help="compare the statistics of all files with those published for a sensor, "
        "for example sentinel-2-l2a, and say which bands look swapped or in another "
        "unit",
    )


def run(options: Namespace) -> None:
    """Print a record of every file and a summary.

    Raises
    ------
    ReadError
        If a file cannot be read with the default options.
    """
    summary = Summary(options.sensor)
    total = 0
    # Only the progress bar needs the number of files in advance.
    if sys.stderr.isatty():
        total = sum(1 for _ in list_files(*options.paths))
    with progress_bar(total, sys.stdout) as (advance, print_line):
        records = _examine_files(options.paths, summary, advance)
        if options.json:
            lines = _json_lines(records, summary)
        else:
            lines = _table_lines(records, summary)
        for line in lines:
            print_line(line)
    if summary.errors:
        raise ReadError(
            f"{summary.errors} of {summary.kinds.total()} files cannot be read with "
            "the default options"
        )


class Summary:
    """Counts over all files.

    Memory use grows with the number of distinct values, not with the number of files.

    Parameters
    ----------
    sensor : Sensor, optional
        The sensor with whose statistics those of all files are compared.
    """

    def __init__(self, sensor: Sensor | None = None) -> None:
        self.statistics = None if sensor is None else SensorStatistics(sensor)
        self.kinds: Counter[str] = Counter()
        self.errors = 0
        # The number of files with each value of a property, and the first such file.
        self.counts: dict[str, Counter[str]] = {
            "modes": Counter(),
            "sizes": Counter(),
            "dtypes": Counter(),
        }
        self.first_files: dict[tuple[str, str], str] = {}
        # The maximum of the uint16 images whose range is not known from the file.
        self.uint16_maximum = 0

    def add(self, record: Record) -> None:
        """Count a file."""
        self.kinds[record["kind"]] += 1
        if record["error"] is not None:
            self.errors += 1
        if record["kind"] != "image":
            return
        properties = {
            "modes": record["mode"],
            "sizes": _format_size(record),
            "dtypes": record["dtype"],
        }
        for name, value in properties.items():
            if value != UNKNOWN:
                self.counts[name][value] += 1
                self.first_files.setdefault((name, value), record["path"])
        if record["dtype"] == "uint16" and "source" in record:
            self._add_uint16(record)

    def _add_uint16(self, record: Record) -> None:
        """Update the maximum of the uint16 images whose bit depth is unknown."""
        source = record["source"]
        maximum = record["values"][1]
        if "bits" in source or "range" in source or maximum is None:
            return
        self.uint16_maximum = max(self.uint16_maximum, maximum)

    def to_record(self) -> Record:
        """Return the counts and notes as a dictionary that can be stored as JSON."""
        record: Record = {"kinds": dict(self.kinds), "errors": self.errors}
        for name, counts in self.counts.items():
            record[name] = dict(counts.most_common())
        record["notes"] = [*self._difference_notes(), *self._bit_depth_notes()]
        if self.statistics is not None:
            record["notes"] += self.statistics.notes()
        return record

    def _difference_notes(self) -> Iterator[str]:
        """Yield a note for each property in which the images differ."""
        for name, counts in self.counts.items():
            if len(counts) < 2:
                continue
            (common_value, common_count), *others = counts.most_common(
                MAX_LISTED_VALUES
            )
            note = f"{name} differ: {common_value} in {common_count}"
            for value, count in others:
                note += f", {value} in {count} (first {self.first_files[name, value]})"
            if len(counts) > MAX_LISTED_VALUES:
                note += f", and {len(counts) - MAX_LISTED_VALUES} more"
            yield note

    def _bit_depth_notes(self) -> Iterator[str]:
        """Yield advice on the bit depth of all uint16 images together."""
        # A single image already has this note.
        if self.kinds["image"] > 1:
            for note in bit_depth_notes(self.uint16_maximum):
                yield f"all uint16 files: {note}"


def _examine_files(
    paths: list[Path], summary: Summary, advance: Callable[[int], object]
) -> Iterator[Record]:
    """Yield the record of each file; update the summary and the progress bar."""
    # A file passed on the command line is meant to be an image, whatever its suffix.
    arguments = set(paths)
    for path in list_files(*paths):
        record = examine(path, path in arguments, summary.statistics)
        summary.add(record)
        yield record
        advance(1)


def _json_lines(records: Iterable[Record], summary: Summary) -> Iterator[str]:
    """Yield the lines of a JSON document with the files and the summary."""
    # The lines are written one by one: the records of a large data set may not fit into
    # memory.
    yield '{"files": ['
    separator = ""
    for record in records:
        yield f"{separator}{json.dumps(record, allow_nan=False)}"
        separator = ","
    yield f'], "summary": {json.dumps(summary.to_record(), allow_nan=False)}}}'


def _table_lines(records: Iterable[Record], summary: Summary) -> Iterator[str]:
    """Yield the lines of a table of the images, and the summary below it."""
    yield ROW.format(*HEADER)
    for record in records:
        if record["kind"] == "no image":
            continue
        yield _printable(ROW.format(*_table_cells(record)))
        if record["error"]:
            yield _printable(f"        error: {record['error']}")
        for note in record["notes"]:
            yield _printable(f"        {note}")
    totals = summary.to_record()
    yield ""
    kinds = [f"{kind}: {count}" for kind, count in totals["kinds"].items()]
    yield ", ".join(kinds) or "no files"
    for note in totals["notes"]:
        yield _printable(note)


def _table_cells(record: Record) -> tuple[str, ...]:
    """Return the cells of a row, in the order of `HEADER`."""
    return (
        record.get("format", UNKNOWN),
        record.get("mode", UNKNOWN),
        _format_size(record),
        record.get("dtype", UNKNOWN),
        _format_bands(record),
        _format_values(record),
        record["path"],
    )


def _format_size(record: Record) -> str:
    """Return width, height and the number of frames, such as "640x480x3"."""
    if not record.get("width"):
        return UNKNOWN
    size = f"{record['width']}x{record['height']}"
    if record["frames"] > 1:
        size += f"x{record['frames']}"
    return size


def _format_bands(record: Record) -> str:
    """Return the band names if they are known and short, else the number of bands."""
    names = ""
    if "source" in record:
        names = "".join(record["source"]["bands"])
    if 0 < len(names) <= MAX_BANDS_WIDTH:
        return names
    return str(record.get("bands") or UNKNOWN)


def _format_values(record: Record) -> str:
    """Return the minimum and the maximum, such as "0..4095"."""
    limits = [value for value in record.get("values", ()) if value is not None]
    return "..".join(f"{value:.6g}" for value in limits) or UNKNOWN


def _printable(text: str) -> str:
    """Escape characters that the terminal cannot show, for example in file names."""
    escaped = ""
    for character in text:
        if character.isprintable():
            escaped += character
        else:
            escaped += ascii(character)[1:-1]
    encoding = sys.stdout.encoding or "utf-8"
    return escaped.encode(encoding, "backslashreplace").decode(encoding)
