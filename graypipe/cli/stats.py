"""``graypipe stats``: gather the statistics of a data set, per band, in one pass over its files."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from .. import BandStats
from ..batch_jobs.gathering import add, gather
from ..batch_jobs.loading import Failed
from ..batch_jobs.naming import place
from ..batch_jobs.writing import write
from ..errors import GraypipeError, MissingExtraError, RangeError, ReadError
from . import data_sets, source_syntax
from .findings import SUFFIXES

WINDOW = (2, 98)
"""Percentiles between which a window usually lies: a few dead or glaring pixels do not set the contrast."""

PICTURES = (".png", ".pdf", ".svg")

ROW = "{:12}" + " {:>12}" * 7
HEAD = ("BAND", "MEAN", "STD", "MIN", f"{WINDOW[0]} %", "50 %", f"{WINDOW[1]} %", "MAX")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a folder with all below it, or a file"
    )
    parser.add_argument(
        "--source",
        type=source_syntax.source,
        required=True,
        help=source_syntax.SOURCE_HELP,
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="OUT",
        help="write the statistics, for gp.BandStats.from_json",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw histograms and windows (extra demo)",
    )
    data_sets.add_arguments(parser)


def run(options: Namespace) -> None:
    """Print and write the statistics; ReadError where a file cannot be taken, or those that were skipped."""
    data_sets.check_options(options)
    paths = [path.absolute() for path in data_sets.images(options.path)]
    _check_outputs(options, paths)
    total: BandStats | None = None
    failures: list[Failed] = []
    work = partial(
        gather, data_sets.loading(options, options.source), options.on_error == "fail"
    )
    for parts in data_sets.run(options, work, paths, failures):
        total, failing = add(total, parts)
        failures += failing
    if total is None:
        raise ReadError(
            f"{options.path}: none of its {len(paths)} files can be read as declared"
        )
    for line in _lines(total, len(paths) - len(failures)):
        print(line)
    if options.json:
        write(place(options.json), [total.to_json().encode() + b"\n"])
    if options.plot:
        from . import histograms

        write(
            place(options.plot),
            [histograms.draw(total, *WINDOW, options.plot.suffix[1:].lower())],
        )
    data_sets.check_complete(failures, len(paths))


def _check_outputs(options: Namespace, paths: list[Path]) -> None:
    """Raise an error, before the work, over what could not be written after it."""
    if options.plot and find_spec("matplotlib") is None:
        raise MissingExtraError('--plot needs matplotlib: pip install "graypipe[demo]"')
    if options.plot and options.plot.suffix.lower() not in PICTURES:
        raise GraypipeError(
            f"{options.plot}: expected a name that ends in {', '.join(PICTURES)}"
        )
    wanted = [made for made in (options.json, options.plot) if made]
    images = {place(path) for path in paths} if wanted else set()
    folders = (
        {options.path, *(path.parent for path in paths)}
        if wanted and options.path.is_dir()
        else set()
    )
    searched = {place(folder) for folder in folders}
    for made in wanted:
        led = place(made)
        if led in images:
            raise GraypipeError(f"{made} is one of the images: choose another name")
        if os.path.lexists(made) and not made.is_file():
            raise GraypipeError(
                f"{made} cannot be written: it is a folder, a pipe, a device or a link to nothing"
            )
        if not led.parent.is_dir():
            raise GraypipeError(f"{made}: there is no folder {led.parent}")
        if led.suffix.lower() in SUFFIXES and (
            made is options.json
            or any(led.is_relative_to(folder) for folder in searched)
        ):
            raise GraypipeError(
                f"{made} would be taken for one of the images from then on: expected --json with a name that ends in "
                f".json, --plot outside of {options.path} and the folders that its links lead to"
            )


def _lines(stats: BandStats, files: int) -> Iterator[str]:
    yield f"{files:,} files, {stats.dtype}, {stats.count:,} pixels a band"
    yield ROW.format(*HEAD)
    middle = stats.percentile((WINDOW[0], 50, WINDOW[1]))
    columns = (stats.mean, stats.std, stats.min, *middle, stats.max)
    for band, *values in zip(stats.source.bands, *columns, strict=True):
        yield ROW.format(band, *(f"{value:.6g}" for value in values))
    if stats.constant:
        yield f"constant: {', '.join(stats.constant)}"
    yield f"window: {_or_why_not(lambda: f'range={stats.window(*WINDOW)}')}"
    yield f"normalization: {_or_why_not(lambda: 'mean={}, std={}'.format(*stats.normalization()))}"


def _or_why_not(text: Callable[[], str]) -> str:
    try:
        return text()
    except RangeError as error:
        return f"none, {error}"
