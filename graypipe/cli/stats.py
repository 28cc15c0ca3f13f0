"""``graypipe stats``: compute the statistics of every band of a data set.

    graypipe stats scans/ --source gray:16
    graypipe stats scans/ --source gray:16 --json scans.json --plot scans.png

Every file is read once, and memory use does not grow with the number of files.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Set
from functools import partial
from importlib import import_module
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import BandStats
from ..batch_jobs.chunks import file_sizes, split_into_chunks
from ..batch_jobs.files import resolve_path, write_file
from ..batch_jobs.remote import (
    AnyPath,
    ListedFile,
    RemotePath,
    absolute_path,
    locate,
    parse_path,
)
from ..batch_jobs.work import FailedFile, PartialStats, compute_stats, merge_stats
from ..errors import GraypipeError, MissingExtraError, RangeError, ReadError
from ..extras import require_extra
from . import file_batches, path_patterns, source_syntax
from .image_files import has_image_suffix, list_images

# The percentiles of the suggested window. A few dead or saturated pixels should not
# determine the contrast.
WINDOW = (2, 98)

PLOT_SUFFIXES = (".png", ".pdf", ".svg")

ROW = "{:12}" + " {:>12}" * 7
HEADER = (
    "BAND",
    "MEAN",
    "STD",
    "MIN",
    f"{WINDOW[0]} %",
    "50 %",
    f"{WINDOW[1]} %",
    "MAX",
)

# BandStats keeps no pixels, so the histogram is approximated from 1,001 quantiles.
QUANTILES = np.linspace(0, 100, 1001).tolist()
HISTOGRAM_BINS = 64


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "path",
        type=parse_path,
        metavar="IMAGES",
        help="a folder with its subfolders, a file or a URL, for example scans/",
    )
    source_syntax.add_source_option(parser, required=True)
    parser.add_argument(
        "--json",
        type=parse_path,
        metavar="FILE",
        help="write the statistics to a file for gp.BandStats.from_json, for example "
        "scans.json",
    )
    parser.add_argument(
        "--plot",
        type=parse_path,
        metavar="FILE",
        help="draw the histogram of every band (extra demo), for example scans.png",
    )
    file_batches.add_arguments(parser)


def run(options: Namespace) -> None:
    """Print the statistics, and write them if requested.

    Raises
    ------
    GraypipeError
        If a file cannot be used, if files were skipped, or if an output file cannot be
        written.
    """
    file_batches.check_options(options)
    # Workers on a cluster may have a different working directory.
    folder = absolute_path(options.path)
    files = list_images(folder, path_patterns.selection(options))
    _check_output_files(options, folder, files)
    # None until the first file has been read, which determines the dtype.
    total: BandStats | None = None

    def collect(results: list[PartialStats | FailedFile]) -> list[FailedFile]:
        """Add the statistics of a chunk to the total."""
        nonlocal total
        total, failed_files = merge_stats(total, results)
        return failed_files

    chunks = list(split_into_chunks(files, folder))
    failures = file_batches.process_files(
        options,
        partial(
            compute_stats,
            options.source,
            file_batches.read_options(options),
            options.on_error == "fail",
            str(folder),
        ),
        chunks,
        list(map(len, chunks)),
        collect,
        sizes=file_sizes(files, folder),
        numba_pays_from=_numba_pays_from(locate(files[0], folder)),
    )
    if total is None:
        raise ReadError(
            f"{options.path}: none of the {len(files)} files can be read as declared"
        )
    for line in _table_lines(total, len(files) - len(failures)):
        print(line)
    # An existing symbolic link is kept, and the file that it points to is replaced.
    if options.json:
        content = total.to_json().encode() + b"\n"
        write_file(resolve_path(options.json), [content])
    if options.plot:
        file_format = options.plot.suffix[1:].lower()
        picture = draw_histograms(total, file_format)
        write_file(resolve_path(options.plot), [picture])
    file_batches.check_complete(failures, len(files))


def _numba_pays_from(first: AnyPath) -> float:
    """Return from how many bytes of files for each worker numba is worth importing."""
    # Statistics need no engine, but its machine code undoes the filters of PNG files.
    if first.suffix.lower() == ".png":
        return file_batches.NUMBA_PAYS_FOR_READING
    return inf


def _check_output_files(
    options: Namespace, folder: AnyPath, files: list[ListedFile]
) -> None:
    """Raise GraypipeError or MissingExtraError if an output cannot be written."""
    if options.plot:
        with require_extra("demo", "matplotlib"):
            import_module("matplotlib")
        if options.plot.suffix.lower() not in PLOT_SUFFIXES:
            raise GraypipeError(
                f"{options.plot}: expected a name that ends in "
                f"{', '.join(PLOT_SUFFIXES)}"
            )
    outputs = [path for path in (options.json, options.plot) if path]
    # Return early: resolving the paths of a large data set takes time.
    if not outputs:
        return
    real_outputs = set()
    for output in outputs:
        if isinstance(output, RemotePath):
            raise GraypipeError(f"{output}: expected a local file, got a URL")
        real_outputs.add(resolve_path(output))
    overwritten_images = set()
    real_folders = set()
    if isinstance(folder, Path):
        images = (folder / str(file) for file in files)
        overwritten_images = real_outputs.intersection(map(resolve_path, images))
        if folder.is_dir():
            folders = {folder, *((folder / str(file)).parent for file in files)}
            real_folders = set(map(resolve_path, folders))
    for output in outputs:
        _check_output_file(output, overwritten_images)
        # A plot may have the suffix of an image, but only outside of the data set.
        would_become_input = has_image_suffix(resolve_path(output)) and (
            output is options.json or _is_inside(output, real_folders)
        )
        if would_become_input:
            raise GraypipeError(
                f"{output} would be picked up as an input image by the next run: "
                "choose a --json file whose name ends in .json, and a --plot file "
                f"outside of {options.path} and of the folders that it links to"
            )


def _check_output_file(output: Path, overwritten_images: Set[Path]) -> None:
    """Raise GraypipeError if ``output`` is an image or cannot be a file."""
    real_output = resolve_path(output)
    if real_output in overwritten_images:
        raise GraypipeError(f"{output} is one of the images: choose another name")
    if os.path.lexists(output) and not output.is_file():
        raise GraypipeError(
            f"cannot write {output}: it is a folder, a pipe, a device or a broken link"
        )
    if not real_output.parent.is_dir():
        raise GraypipeError(
            f"cannot write {output}: {real_output.parent} does not exist"
        )


def _is_inside(path: Path, real_folders: Iterable[Path]) -> bool:
    """Return whether ``path`` is inside one of the folders."""
    real_path = resolve_path(path)
    return any(real_path.is_relative_to(folder) for folder in real_folders)


def _table_lines(stats: BandStats, file_count: int) -> Iterator[str]:
    """Yield the lines that the command prints."""
    yield f"{file_count:,} files, {stats.dtype}, {stats.count:,} pixels per band"
    yield ROW.format(*HEADER)
    try:
        percentiles = stats.percentile((WINDOW[0], 50, WINDOW[1]))
    except MissingExtraError:  # the line about the window says what is missing
        percentiles = np.full((3, len(stats.source.bands)), np.nan)
    columns = (stats.mean, stats.std, stats.min, *percentiles, stats.max)
    for band, *values in zip(stats.source.bands, *columns, strict=True):
        yield ROW.format(band, *(f"{value:.6g}" for value in values))
    if stats.constant:
        yield f"constant: {', '.join(stats.constant)}"
    yield f"window: {_describe_window(stats)}"
    yield f"normalization: {_describe_normalization(stats)}"


def _describe_window(stats: BandStats) -> str:
    """Return the range for `Source`, or why it is not available."""
    try:
        return f"range={stats.window(*WINDOW)}"
    except (MissingExtraError, RangeError) as error:
        return f"not available ({error})"


def _describe_normalization(stats: BandStats) -> str:
    """Return mean and std for `Target`, or why they are not available."""
    try:
        mean, std = stats.normalization()
    except RangeError as error:
        return f"not available ({error})"
    return f"mean={mean}, std={std}"


def draw_histograms(stats: BandStats, file_format: str) -> memoryview:
    """Draw the histogram of every band and the suggested window.

    Parameters
    ----------
    stats : BandStats
        The statistics of the data set.
    file_format : {"png", "pdf", "svg"}
        The format of the picture.

    Returns
    -------
    memoryview
        The content of the file.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bands = stats.source.bands
    # Use matplotlib's default settings, not those of the user. The Agg canvas needs no
    # window system.
    with style.context(["default", {"font.size": 12}]):
        figure = Figure(figsize=(9, 0.8 + 2.2 * len(bands)), layout="constrained")
        FigureCanvasAgg(figure)
        title = f"{stats.count:,} pixels per band, {stats.dtype}"
        figure.suptitle(title, ha="left", x=0.02)
        axes = figure.subplots(len(bands), 1, squeeze=False)[:, 0]
        quantiles = stats.percentile(QUANTILES)
        windows = stats.percentile(list(WINDOW))
        for index, band in enumerate(bands):
            _draw_histogram(axes[index], band, quantiles[:, index], windows[:, index])
        axes[-1].set_xlabel("stored value")
        file = BytesIO()
        figure.savefig(file, format=file_format, dpi=100)
        return file.getbuffer()


def _draw_histogram(
    axes: Any, band: str, quantiles: NDArray[Any], window: NDArray[Any]
) -> None:
    """Draw the histogram of one band and shade the window."""
    from ..drawing import BAND_COLOURS

    percent_per_quantile = np.full(len(quantiles), 100 / len(quantiles))
    axes.hist(
        quantiles,
        bins=HISTOGRAM_BINS,
        weights=percent_per_quantile,
        color=BAND_COLOURS.get(band, BAND_COLOURS["gray"]),
        alpha=0.75,
    )
    black, white = window
    label = f"{WINDOW[0]} to {WINDOW[1]} %: {black:.6g} to {white:.6g}"
    axes.axvspan(black, white, color="#888888", alpha=0.15, label=label)
    axes.set_ylabel(f"{band}, % of pixels")
    axes.legend(loc="upper right")
