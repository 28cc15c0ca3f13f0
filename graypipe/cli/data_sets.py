"""What ``stats`` and ``convert`` share: which files, how they are read, who works on them, what went wrong."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from .. import Source
from ..batch_jobs import local
from ..batch_jobs.chunks import chunks
from ..batch_jobs.loading import Failed, Loading
from ..errors import ReadError
from ..io.policies import ALPHA_POLICIES, ORIENTATION_POLICIES
from .findings import SUFFIXES, files
from .progress import progress

Result = TypeVar("Result")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of both commands."""
    reading = parser.add_argument_group("reading, as gp.read takes it")
    reading.add_argument(
        "--alpha",
        choices=ALPHA_POLICIES,
        default="error",
        help="what becomes of alpha that is not opaque",
    )
    reading.add_argument(
        "--orientation",
        choices=ORIENTATION_POLICIES,
        default="error",
        help="what becomes of turned images",
    )
    reading.add_argument(
        "--frame",
        type=_frame,
        help="which page or frame of a file, from 0 on, or a key of a .npz",
    )
    working = parser.add_argument_group("working")
    working.add_argument(
        "--workers",
        type=_workers,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: %(default)s)",
    )
    working.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="this machine, or Ray Data",
    )
    working.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="a Ray cluster, instead of a Ray started here",
    )
    working.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="stop at the first file that cannot be taken, or skip and report it (default: %(default)s)",
    )
    parser.set_defaults(usage_error=parser.error)


def check_options(options: Namespace) -> None:
    """Raise UsageError for options that contradict each other."""
    if options.ray_address and options.engine != "ray":
        options.usage_error("--ray-address says where Ray runs: add --engine ray")


def _frame(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise ArgumentTypeError(
            f"expected a number of processes from 1 to 1024, got {text!r}"
        )
    return int(text)


def loading(options: Namespace, source: Source) -> Loading:
    """Return how every file is read."""
    return Loading(source, options.alpha, options.orientation, options.frame)


def images(path: Path) -> list[Path]:
    """Return the images in the folder ``path`` and below, known by how their names end, sorted; or the file itself."""
    if not path.is_dir():
        return [path]
    found = [file for file in files(path) if file.suffix.lower() in SUFFIXES]
    if not found:
        raise ReadError(
            f"{path}: no image files in it, whose names end in {', '.join(SUFFIXES)}"
        )
    return found


def run(
    options: Namespace,
    work: Callable[[list[Path]], Sequence[Result]],
    paths: Sequence[Path],
    failures: list[Failed],
) -> Iterator[Sequence[Result]]:
    """Yield what ``work`` returns for each chunk of ``paths``, in their order, with a bar where a person looks on.

    The caller appends to ``failures``: the first one ends the job with a ReadError, or all are reported and counted.
    """
    parts = list(chunks(paths))
    with (
        closing(_engine(options, work, parts)) as results,
        progress(len(paths), sys.stderr) as (advance, say),
    ):
        for part, result in zip(parts, results, strict=True):
            before = len(failures)
            yield result
            advance(len(part))
            if len(failures) > before and options.on_error == "fail":
                raise ReadError(failures[before].reason)
            for failure in failures[before:]:
                say(f"skipped: {failure.reason}")


def check_complete(failures: Sequence[Failed], total: int) -> None:
    """Raise ReadError where files were skipped."""
    if failures:
        raise ReadError(f"{len(failures)} of {total} files were skipped")


def _engine(
    options: Namespace, work: Any, parts: list[list[Path]]
) -> Generator[Any, None, None]:
    workers = max(1, min(options.workers, len(parts)))
    if options.engine == "local":
        return local.in_order(work, parts, workers)
    from ..batch_jobs import ray

    return ray.in_order(work, parts, workers, options.ray_address)
