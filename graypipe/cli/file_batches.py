"""The code shared by ``graypipe stats``, ``graypipe convert`` and ``graypipe inspect``.

These commands process a folder of images in chunks. They share the options for reading
files and distributing the work, the choice of plans, and the handling of files that
fail.
"""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _ArgumentGroup
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import accumulate
from typing import TypeVar

from .. import Plans, engine
from ..batch_jobs.outputs import OutputFormat
from ..batch_jobs.stated_plans import JobPlans, StatedPlans
from ..batch_jobs.work import FailedFile, ReadOptions, call_with_pixel_limit
from ..errors import ReadError
from ..io.policies import ALPHA_POLICIES, ORIENTATION_POLICIES
from . import path_patterns, source_syntax
from .progress import progress_bar

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

# Importing numba takes half a second. One process converts about this many bytes of
# files, or reads this many bytes of PNG files, until numba has saved as much.
NUMBA_PAYS_FOR_CONVERTING = 16 << 20
NUMBA_PAYS_FOR_READING = 64 << 20

# Guard against typos such as --workers 44444.
MAX_WORKERS = 1024


def add_plan_arguments(parser: ArgumentParser) -> None:
    """Declare ``--source``, ``--target``, ``--via`` and ``--plan``."""
    source_syntax.add_plan_options(parser, required=False, several=True)
    parser.add_argument(
        "--plan",
        type=source_syntax.read_plan,
        action="append",
        metavar="FILE",
        help="a file with the JSON of a plan, instead of --source, --target and --via; "
        "may be repeated, for example plan.json",
    )
    parser.add_argument(
        "--select",
        type=source_syntax.parse_bands,
        metavar="BANDS",
        help="without --source, the bands to use of those that each file names, in "
        "this order, for example B04,B03,B02",
    )


def add_reading_arguments(parser: ArgumentParser) -> None:
    """Declare the options that say which files are read, and how."""
    path_patterns.add_options(parser)
    reading = parser.add_argument_group("how files are read (see graypipe.read)")
    reading.add_argument(
        "--alpha",
        choices=ALPHA_POLICIES,
        default="error",
        help="what to do with transparent pixels (default: %(default)s)",
    )
    reading.add_argument(
        "--orientation",
        choices=ORIENTATION_POLICIES,
        default="error",
        help="what to do with images whose EXIF orientation is not upright "
        "(default: %(default)s)",
    )
    reading.add_argument(
        "--frame",
        type=_parse_frame,
        help="the page or frame of each file, counted from 0, all for a stack of all "
        "frames, or the key of an array in a .npz file, for example 2",
    )
    reading.add_argument(
        "--max-pixels",
        type=_parse_pixels,
        metavar="N",
        help="read images of up to N pixels that are stored in small files, for "
        "example 400000000; by default, what PIL.Image.MAX_IMAGE_PIXELS allows",
    )


def add_workers_argument(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Declare ``--workers``."""
    parser.add_argument(
        "--workers",
        type=_parse_workers,
        default=os.cpu_count() or 1,
        metavar="N",
        help="the number of processes, for example 4 (default: %(default)s)",
    )


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the commands that stop at, or skip, files that fail."""
    add_reading_arguments(parser)
    processing = parser.add_argument_group("how files are processed")
    add_workers_argument(processing)
    processing.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="run in local processes, or with Ray Data (default: %(default)s)",
    )
    processing.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="the address of a running Ray cluster, for example 10.0.0.1:6379; by "
        "default Ray is started on this machine",
    )
    processing.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="fail: stop at the first file that cannot be used; skip: report it and "
        "continue (default: %(default)s)",
    )
    parser.set_defaults(usage_error=parser.error)


def check_options(options: Namespace) -> None:
    """Raise UsageError if options contradict each other."""
    if options.ray_address and options.engine != "ray":
        options.usage_error("--ray-address needs --engine ray")


def _parse_frame(text: str) -> int | str:
    """Return the index of a frame, or the key of an array."""
    # A .npz file has keys instead of frame numbers.
    if text.isdecimal():
        return int(text)
    return text


def _parse_pixels(text: str) -> int:
    """Return the largest number of pixels."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(
            f"expected a number of pixels such as 400000000, got {text!r}"
        )
    return int(text)


def _parse_workers(text: str) -> int:
    """Return the number of workers."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise ArgumentTypeError(
            f"expected a number of processes from 1 to {MAX_WORKERS}, got {text!r}"
        )
    return int(text)


def select_plans(options: Namespace) -> JobPlans:
    """Return the plans from --plan, or from --source, --target and --via.

    Without --source, each file states its source.
    """
    _check_select(options)
    if options.plan is None and options.source and options.target:
        maps = options.via or {}
        return Plans(
            *(
                source_syntax.make_plan(source, options.target, maps.get(position))
                for position, source in enumerate(options.source)
            )
        )
    if options.plan is None and options.target:
        via = None if options.via is None else json.dumps(options.via[0])
        return StatedPlans(options.target, via)
    if options.plan is None or options.source or options.target or options.via:
        options.usage_error(
            "expected either --plan, or --target (and optionally --source and --via)"
        )
    return Plans(*options.plan)


def _check_select(options: Namespace) -> None:
    """Raise UsageError if bands are selected from declared ones."""
    if options.select and (options.source or options.plan):
        options.usage_error(
            "--select chooses bands that the files name, so that no --source or --plan "
            "declares them: to choose from declared bands, write "
            "--via R=B04,G=B03,B=B02"
        )


def check_frames(
    options: Namespace, output_format: OutputFormat, plans: JobPlans
) -> None:
    """Raise UsageError if the outputs cannot hold all frames of a file."""
    if options.frame == "all" and not output_format.holds_stacks(plans):
        options.usage_error(
            f"--frame all makes a stack of each file, which --to {options.to} cannot "
            "store for this target: use --to npy, or choose one frame such as --frame 0"
        )


def read_options(options: Namespace) -> ReadOptions:
    """Return how every file is read."""
    # stats has no --select: it takes all bands of --source.
    select = getattr(options, "select", None)
    return ReadOptions(options.alpha, options.orientation, options.frame, select)


def process_files(
    options: Namespace,
    function: Callable[[Chunk], Result],
    chunks: Sequence[Chunk],
    counts: Sequence[int],
    collect: Callable[[Result], list[FailedFile]],
    *,
    sizes: Iterable[int],
    numba_pays_from: float,
) -> list[FailedFile]:
    """Process chunks of files, with a progress bar.

    Parameters
    ----------
    options : Namespace
        The options that were declared by `add_arguments`.
    function : callable
        Called by a worker with a chunk; it must be picklable.
    chunks : sequence
        The files, or the outputs to make of them.
    counts : sequence of int
        The number of files of each chunk.
    collect : callable
        Called with the result of each chunk, in the order of the files. It returns the
        files that failed.
    sizes, numba_pays_from
        As for `map_locally`.

    Returns
    -------
    list of FailedFile
        All files that failed. Each has been reported on stderr.

    Raises
    ------
    ReadError
        With ``--on-error fail``, for the first file that fails.
    """
    limited = partial(call_with_pixel_limit, options.max_pixels, function)
    failures: list[FailedFile] = []
    with (
        closing(
            _map_chunks(options, limited, chunks, sizes, numba_pays_from)
        ) as results,
        progress_bar(sum(counts), sys.stderr) as (advance, print_line),
    ):
        for count, result in zip(counts, results, strict=True):
            chunk_failures = collect(result)
            advance(count)
            # All previous chunks are complete, so --resume can continue after them.
            if chunk_failures and options.on_error == "fail":
                raise ReadError(chunk_failures[0].reason)
            for failure in chunk_failures:
                print_line(f"skipped: {failure.reason}")
            failures += chunk_failures
    return failures


def check_complete(failures: Sequence[FailedFile], total: int) -> None:
    """Raise ReadError if files were skipped."""
    if failures:
        raise ReadError(f"{len(failures)} of {total} files were skipped")


def _map_chunks(
    options: Namespace,
    function: Callable[[Chunk], Result],
    chunks: Sequence[Chunk],
    sizes: Iterable[int],
    numba_pays_from: float,
) -> Generator[Result, None, None]:
    """Yield the result of each chunk, in order, from the selected backend."""
    if options.engine == "local":
        return map_locally(options, function, chunks, sizes, numba_pays_from)
    # Ray takes seconds to import.
    from ..batch_jobs import ray

    workers = max(1, min(options.workers, len(chunks)))
    return ray.map_in_order(function, chunks, workers, options.ray_address)


def map_locally(
    options: Namespace,
    function: Callable[[Chunk], Result],
    chunks: Sequence[Chunk],
    sizes: Iterable[int],
    numba_pays_from: float,
) -> Generator[Result, None, None]:
    """Yield the result of each chunk, in order, from processes on this machine.

    Parameters
    ----------
    options : Namespace
        With ``workers``, and with ``owns_process``, set by `graypipe.cli.main`.
    function : callable
        Called by a worker with a chunk; it must be picklable.
    chunks : sequence
        The files, or the outputs to make of them.
    sizes : iterable of int
        The sizes of the files in bytes; as many are used as needed.
    numba_pays_from : float
        Number of bytes of files for each worker from which it is faster to import
        numba than to use the NumPy engine, which computes the same values.
    """
    # Do not start more workers than there are chunks.
    workers = max(1, min(options.workers, len(chunks)))
    if options.owns_process:
        _choose_engine(sizes, numba_pays_from * workers)
    if workers == 1:
        return (function(chunk) for chunk in chunks)
    # Imported only if needed, because it takes a tenth of a second.
    from ..batch_jobs import local

    return local.map_in_order(function, chunks, workers, options.owns_process)


def _choose_engine(sizes: Iterable[int], numba_pays_from: float) -> None:
    """Choose the engine of this process, and of the workers forked from it.

    The variable ``GRAYPIPE_ENGINE`` takes precedence.
    """
    if any(total > numba_pays_from for total in accumulate(sizes)):
        engine.engine()
    else:
        prefer_numpy_engine()


def prefer_numpy_engine() -> None:
    """Choose the NumPy engine for a small job of a process of its own.

    Importing numba and compiling take longer than converting a few images. The variable
    ``GRAYPIPE_ENGINE`` takes precedence.
    """
    os.environ.setdefault("GRAYPIPE_ENGINE", "numpy")
