"""``graypipe inspect``: list image files, how they are read, and likely problems.

    graypipe inspect scans/ extra.tif
    graypipe inspect scans/ --json > report.json
    graypipe inspect scans/ --source gray:12 --target imagenet --problems-only
    graypipe inspect tiles/ --sensor sentinel-2-l2a
    graypipe inspect scans/ --html report.html

The output is a table with one line per file and a summary, or JSON. With the options of
``graypipe convert``, every image is also converted, and nothing is written.
"""

import json
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import Plans, Source, Target, plan
from ..batch_jobs.chunks import file_sizes, split_into_chunks
from ..batch_jobs.outputs import FORMATS
from ..batch_jobs.remote import AnyPath, RemotePath, parse_path
from ..batch_jobs.stated_plans import JobPlans
from ..batch_jobs.work import call_with_pixel_limit
from ..errors import ReadError
from ..extras import require_extra
from ..sensor import Sensor
from . import file_batches, path_patterns
from .advice import ImageKind, bit_depth_note, next_command, probable_bits
from .examine import (
    Examination,
    Examined,
    Record,
    examine_files,
)
from .image_files import has_image_suffix, list_files, printable
from .pictures import Pictures, sample
from .progress import progress_bar
from .report import Report, check_report_path, write_report
from .sensor_statistics import SensorStatistics, parse_sensor

# Shown in the table for unknown values.
UNKNOWN = "-"

ROW = "{:7} {:11} {:11} {:8} {:6} {:15} {}"
HEADER = ("FORMAT", "MODE", "SIZE", "DTYPE", "BANDS", "VALUES", "FILE")

# Maximum total length of the band names shown in the table.
MAX_BANDS_WIDTH = 6

# Maximum number of distinct values of a property that the summary lists.
MAX_LISTED_VALUES = 4

# The format and the output folder of the conversion that is suggested.
DEFAULT_FORMAT = "npy"
EXAMPLE_OUTPUT = "converted"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=parse_path,
        metavar="PATH",
        help="an image file, or a folder with its subfolders, or the URL of one, for "
        "example scans/",
    )
    _add_own_options(parser)
    file_batches.add_plan_arguments(parser)
    parser.add_argument(
        "--to",
        choices=tuple(FORMATS),
        help="with --target or --plan, the format that convert would write, for "
        "example npy (the default)",
    )
    file_batches.add_reading_arguments(parser)
    file_batches.add_workers_argument(parser)
    parser.set_defaults(usage_error=parser.error)


def _add_own_options(parser: ArgumentParser) -> None:
    """Declare the options that ``convert`` does not have."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON with one file per line instead of a table",
    )
    parser.add_argument(
        "--problems-only",
        action="store_true",
        help="print only files with an error or a note, and the summary",
    )
    parser.add_argument(
        "--sensor",
        type=parse_sensor,
        help="compare the statistics of all files with those published for a sensor, "
        "for example sentinel-2-l2a, and say which bands look swapped or in another "
        "unit",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write a page with thumbnails, histograms and everything that looks "
        "wrong (extra demo), for example report.html",
    )


def run(options: Namespace) -> None:
    """Print a record of every file and a summary.

    Raises
    ------
    ReadError
        If a file cannot be read, or not be converted, with the given options.
    """
    if options.html:
        _check_html(options.html)
    paths, named = _find_files(options)
    job = _examination(options, named)
    summary = Summary(options.sensor)
    if options.html:
        images = [path for path in paths if path in named or has_image_suffix(path)]
        job = job._replace(pictures=Pictures(sample(images or paths)))
        summary.report = Report(options.paths)
    with (
        closing(_map_chunks(options, job, paths)) as results,
        progress_bar(len(paths), sys.stdout) as (advance, print_line),
    ):
        records = _collect(results, summary, advance)
        if options.problems_only:
            records = filter(_has_problem, records)
        if options.json:
            lines = _json_lines(records, summary)
        else:
            lines = _table_lines(records, summary, options)
        for line in lines:
            print_line(line)
    if summary.report is not None:
        page = summary.report.render(
            summary.to_record(),
            [*summary.band_lines(), *summary.to_record()["notes"]],
            list(summary.output_lines()),
            summary.next_command(options),
        )
        write_report(options.html, page)
    if job.converts and len(options.paths) == 1:
        _check_output_names(options, paths, named)
    if summary.errors:
        action = "converted" if job.converts else "read"
        raise ReadError(
            f"{summary.errors} of {summary.kinds.total()} files cannot be {action} "
            f"with {'the given' if options.source or options.plan else 'the default'} "
            "options"
        )


def _find_files(options: Namespace) -> tuple[list[AnyPath], frozenset[AnyPath]]:
    """Return the selected files, and those that are images whatever their suffix is."""
    files = list(list_files(*options.paths))
    # A URL that was listed has a state, and is another value than its argument.
    arguments = {str(path) for path in options.paths}
    named = {file for file in files if str(file) in arguments}
    selection = path_patterns.selection(options)
    if selection == path_patterns.EVERYTHING:
        return files, frozenset(named)
    selected = [file for file in files if file in named]
    for folder in options.paths:
        inside = [file for file in files if _is_below(file, folder)]
        for file in selection.select(inside, folder):
            selected.append(file)
            if selection.names(file, folder):
                named.add(file)
    # A file can be in several of the folders.
    return list(dict.fromkeys(selected)), frozenset(named)


def _is_below(file: AnyPath, folder: AnyPath) -> bool:
    """Return whether a file is in a folder or in its subfolders."""
    if isinstance(file, RemotePath):
        return str(file).startswith(str(folder).rstrip("/") + "/")
    return folder in file.parents


def _examination(options: Namespace, named: frozenset[AnyPath]) -> Examination:
    """Return how the files are examined; those of ``named`` are images in any case."""
    plans: JobPlans | None = None
    converts = _converts(options)
    if converts:
        plans = file_batches.select_plans(options)
        output_format = FORMATS[options.to or DEFAULT_FORMAT]()
        file_batches.check_frames(options, output_format, plans)
        output_format.check(plans)
        plans = plans._with_layouts(None, output_format.layout(plans))
    elif options.via or options.to:
        options.usage_error("--via and --to need --target or --plan")
    elif options.source:
        plans = Plans(*map(_plan_of_first_band, options.source))
    return Examination(
        # A file passed on the command line is meant to be an image, whatever its suffix
        arguments=named,
        read_options=file_batches.read_options(options),
        plans=plans,
        converts=converts,
        sensor=options.sensor,
        pictures=None,
    )


def _converts(options: Namespace) -> bool:
    """Return whether images are also converted."""
    return bool(options.target or options.plan)


def _repeated_words(words: Sequence[str]) -> list[str]:
    """Return the words of the command line that say which files are read, and how."""
    left_out = ArgumentParser(add_help=False)
    _add_own_options(left_out)
    file_batches.add_workers_argument(left_out)
    return left_out.parse_known_args(words)[1]


def _check_html(path: Path) -> None:
    """Raise GraypipeError or MissingExtraError if the page cannot be written."""
    check_report_path(path)
    with require_extra("demo", "jinja2", "matplotlib", "fastdigest"):
        for package in ("jinja2", "matplotlib", "fastdigest"):
            import_module(package)


def _plan_of_first_band(source: Source) -> Any:
    """Return a plan for a source without a target, which chooses the files it takes."""
    target = Target("gray", "HW", "float32")
    return plan(source, target, {"gray": source.bands[0]})


def _map_chunks(
    options: Namespace, job: Examination, paths: Sequence[AnyPath]
) -> Generator[Examined, None, None]:
    """Yield what is found in each chunk of files, in order."""
    chunks = list(split_into_chunks(paths))
    function = partial(
        call_with_pixel_limit, options.max_pixels, partial(examine_files, job)
    )
    return file_batches.map_locally(
        options,
        function,
        chunks,
        file_sizes(paths),
        file_batches.NUMBA_PAYS_FOR_CONVERTING,
    )


def _check_output_names(
    options: Namespace, paths: Sequence[AnyPath], named: frozenset[AnyPath]
) -> None:
    """Raise GraypipeError if two images would have the same output file."""
    [folder] = options.paths
    if folder.is_dir():
        images = [path for path in paths if has_image_suffix(path) or path in named]
        names = [str(path.relative_to(str(folder))) for path in images]
        FORMATS[options.to or DEFAULT_FORMAT]().check_names(names)


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
            "bands": Counter(),
            "outputs": Counter(),
        }
        self.first_files: dict[tuple[str, str], str] = {}
        self.report: Report | None = None
        # By bands and dtype, the images that can be read
        self.image_kinds: dict[tuple[tuple[str, ...], str], ImageKind] = {}
        # The first option that helps with an error, by its name, such as "--alpha"
        self.options: dict[str, str] = {}
        # The suffixes of the files in folders that convert would read, by kind
        self.suffixes: dict[str, set[str]] = {"image": set(), "DICOM": set()}

    def add(self, record: Record) -> None:
        """Count a file."""
        self.kinds[record["kind"]] += 1
        if record["error"] is not None:
            self.errors += 1
            for option in record["options"]:
                self.options.setdefault(option.split()[0], option)
        path = parse_path(record["path"])
        if record["kind"] in self.suffixes and has_image_suffix(path):
            self.suffixes[record["kind"]].add(path.suffix)
        if record["kind"] != "image":
            return
        properties = {
            "modes": record["mode"],
            "sizes": _format_size(record),
            "dtypes": record["dtype"],
            "bands": _all_bands(record),
            "outputs": _format_output(record),
        }
        for name, value in properties.items():
            if value != UNKNOWN:
                self.counts[name][value] += 1
                self.first_files.setdefault((name, value), record["path"])
        if "source" in record:
            self._add_image(record)

    def _add_image(self, record: Record) -> None:
        """Update the kind of image to which the record of a readable image belongs."""
        source = record["source"]
        key = (tuple(source["bands"]), record["dtype"])
        kind = self.image_kinds.setdefault(key, ImageKind())
        if kind.sensor is None:
            kind.sensor = next(iter(record.get("sensors", ())), None)
        is_known = "bits" in source or "range" in source or "sensors" in record
        maximum = record["values"][1]
        if record["dtype"] == "uint16" and not is_known and maximum is not None:
            kind.maximum = max(kind.maximum, maximum)

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
            # Outputs are listed anyway, by `output_lines`.
            if len(counts) < 2 or name == "outputs":
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

    def band_lines(self) -> Iterator[str]:
        """Yield the names of bands that are too long for the table."""
        for bands, count in self.counts["bands"].most_common(MAX_LISTED_VALUES):
            is_short = len(bands.replace(",", "")) <= MAX_BANDS_WIDTH
            if not is_short and " without names" not in bands:
                yield f"bands: {bands} in {count}"

    def output_lines(self) -> Iterator[str]:
        """Yield what convert would write."""
        outputs = self.counts["outputs"]
        if not outputs:
            return
        listed = [
            f"{output} in {count}"
            for output, count in outputs.most_common(MAX_LISTED_VALUES)
        ]
        line = f"convert writes: {', '.join(listed)}"
        if len(outputs) > MAX_LISTED_VALUES:
            line += f", and {len(outputs) - MAX_LISTED_VALUES} more"
        yield line

    def next_command(self, options: Namespace) -> str:
        """Return the command to type next, or "" if there is none to suggest."""
        if not self.image_kinds and not self.options:
            return ""
        words = _repeated_words(options.words)
        if not _converts(options):
            self._recognise_sensor()
            declared = options.source or []
            if options.select:
                declared = [Source(options.select)]
            return next_command(
                words,
                self.image_kinds,
                self.options,
                declared,
                self._dicom_patterns(options),
            )
        if self.errors:
            return ""
        if len(options.paths) > 1 or not options.paths[0].is_dir():
            return "graypipe convert with the same options, for one folder"
        if options.to is None:
            words += ["--to", DEFAULT_FORMAT]
        return f"graypipe convert {shlex.join(words)} {EXAMPLE_OUTPUT}"

    def _dicom_patterns(self, options: Namespace) -> list[str]:
        """Return the patterns of DICOM files, which have ranges of their own."""
        # Patterns do not apply to files that are named on the command line.
        if not any(path.is_dir() for path in options.paths):
            return []
        suffixes = self.suffixes["DICOM"] - self.suffixes["image"]
        return [f"*{suffix}" for suffix in sorted(suffixes)]

    def _recognise_sensor(self) -> None:
        """Take images for those of the sensor with whose statistics they agree."""
        if self.statistics is None:
            return
        for (bands, dtype), kind in self.image_kinds.items():
            if self.statistics.fits(bands, dtype):
                kind.sensor = self.statistics.facts.name

    def _bit_depth_notes(self) -> Iterator[str]:
        """Yield advice on the bit depth of all uint16 images together."""
        maximum = max((kind.maximum for kind in self.image_kinds.values()), default=0)
        bits = probable_bits(maximum)
        # A single image already has this note.
        if self.kinds["image"] > 1 and bits is not None:
            yield f"all uint16 files: {bit_depth_note(maximum, bits)}"


def _collect(
    results: Iterable[Examined], summary: Summary, advance: Callable[[int], object]
) -> Iterator[Record]:
    """Yield the record of each file; update the summary and the progress bar."""
    for result in results:
        if result.statistics is not None and summary.statistics is not None:
            summary.statistics.merge(result.statistics)
        if result.pictures is not None and summary.report is not None:
            summary.report.pictures.merge(result.pictures)
        for record in result.records:
            summary.add(record)
            if summary.report is not None:
                summary.report.add(record, _kind_cells(record))
            yield record
        advance(len(result.records))


def _has_problem(record: Record) -> bool:
    """Return whether a record has an error or a note."""
    return bool(record["error"] or record["notes"])


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


def _table_lines(
    records: Iterable[Record],
    summary: Summary,
    options: Namespace,
) -> Iterator[str]:
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
        if record["options"]:
            yield _printable(f"        try: {' or '.join(record['options'])}")
    totals = summary.to_record()
    yield ""
    kinds = [f"{kind}: {count}" for kind, count in totals["kinds"].items()]
    yield ", ".join(kinds) or "no files"
    for line in (*summary.band_lines(), *totals["notes"], *summary.output_lines()):
        yield _printable(line)
    command = summary.next_command(options)
    if command:
        yield _printable(f"next: {command}")


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


def _kind_cells(record: Record) -> tuple[str, ...]:
    """Return the cells of the table of kinds: format, mode, size, dtype and bands."""
    bands = _all_bands(record)
    if bands == UNKNOWN:
        bands = str(record.get("bands") or UNKNOWN)
    return (*_table_cells(record)[:4], bands)


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


def _all_bands(record: Record) -> str:
    """Return the names of all bands, or their number if they have none."""
    if "source" not in record:
        return UNKNOWN
    bands = record["source"]["bands"]
    if len(bands) > 1 and bands[0] == "band1":
        return f"{len(bands)} without names"
    return ",".join(bands)


def _format_output(record: Record) -> str:
    """Return what would be written, such as "3x224x224 (CHW) float32"."""
    if "output" not in record:
        return UNKNOWN
    output = record["output"]
    shape = "x".join(map(str, output["shape"]))
    return f"{shape} ({output['layout']}) {output['dtype']}"


def _format_values(record: Record) -> str:
    """Return the minimum and the maximum, such as "0..4095"."""
    limits = [value for value in record.get("values", ()) if value is not None]
    return "..".join(f"{value:.6g}" for value in limits) or UNKNOWN


def _printable(text: str) -> str:
    """Escape characters that the terminal cannot show, for example in file names."""
    encoding = sys.stdout.encoding or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)
