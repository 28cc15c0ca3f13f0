"""Folders of 200 to 20,000 files through ``graypipe convert`` and ``stats``, from start to end, beside the scripts people
write; and the memory of the command for up to 100,000 files."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from graypipe.cli import main

from .. import images, photographs
from ..case import Build, Case, Run
from ..engines import OURS
from ..processes import ROOT, as_installed
from ..scale import Scale

SCRIPT = "Pillow, NumPy and a pool of processes"
MOST_FILES = 2000
"""Larger folders hold links to these many files, of smaller images: the arrays of 20,000
larger ones would not fit in memory, and a disk would be measured."""

# The library whose own writer a format of shards is compared with
WRITERS = {"webdataset": "webdataset", "parquet": "datasets"}

KINDS = ("JPEG", "PNG", "PNG, 16 bits")
NUMBERS = (200, 2000, 20_000)

# What is done with how many files of which kind, by how many processes: `convert` to
# .npy files, or to a format of shards, or `stats`.
JOBS = {
    "full": (
        *product(("convert", "stats"), KINDS, NUMBERS, (1, 2)),
        *product(WRITERS, ("PNG",), (2000,), (2,)),
    ),
    "quick": (("convert", "PNG", 200, 2), ("stats", "JPEG", 200, 2)),
    "tiny": (
        ("convert", "PNG, 16 bits", 3, 1),
        ("webdataset", "PNG", 3, 1),
        ("parquet", "PNG", 3, 2),
        ("stats", "JPEG", 3, 2),
    ),
}
COUNTS = {"full": (1000, 100_000), "quick": (100, 1000), "tiny": (2, 4)}


def cases(scale: Scale) -> Iterator[Build]:
    """Yield the jobs and the memory."""
    for job in JOBS[scale.name]:
        yield partial(_job, scale, *job)
    yield partial(_memory, scale)


def _job(scale: Scale, job: str, kind: str, count: int, workers: int) -> Case:
    size = "256" if count <= MOST_FILES else "128"
    folder = _folder(scale.shape(size), kind, count)
    source = "gray:16" if "16" in kind else "gray"
    options = ("--source", source, "--workers", str(workers))
    label, command, script, peer = _commands(job, folder, str(workers))
    processes = "1 process" if workers == 1 else f"{workers} processes"
    return Case(
        f"{label}, {count:,} gray images, {size}, {kind}, {processes}",
        {
            "task": f"job of {label}",
            "size": size,
            "format": kind,
            "files": str(count),
            "processes": str(workers),
        },
        ours={OURS: partial(_seconds, folder, "graypipe", *command, *options)},
        peer={peer: partial(_seconds, folder, *script)},
        gauge="reported",
    )


def _commands(
    job: str, folder: Path, workers: str
) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    """Return the label of a job, the arguments of graypipe, the script with its arguments, and the name of the script."""
    images, out = str(folder / "in"), str(folder / "out")
    if job == "stats":
        script: tuple[str, ...] = ("benchmarks.obvious_statistics", images, workers)
        return job, ("stats", images), script, SCRIPT
    command = ("convert", images, out, "--target", "imagenet", "--to")
    if job == "convert":
        script = ("benchmarks.obvious_conversion", images, out, workers)
        return job, (*command, "npy"), script, SCRIPT
    library = WRITERS[job]
    script = ("benchmarks.obvious_shards", images, out, workers, library)
    peer = f"Pillow, NumPy and {library}"
    return f"convert --to {job}", (*command, job), script, peer


@cache
def _folder(shape: tuple[int, ...], kind: str, count: int) -> Path:
    """Return a folder with images in it; it is removed at the end of the process."""
    folder = photographs.temporary_folder("jobs")
    (folder / "in").mkdir()
    suffix = ".jpg" if kind == "JPEG" else ".png"
    files = []
    for number, image in enumerate(photographs.crops(shape, min(count, MOST_FILES))):
        pixels = image.astype(np.uint16) * 257 if "16" in kind else image
        files.append(folder / f"in/{number:06}{suffix}")
        Image.fromarray(pixels).save(files[-1])
    for number in range(len(files), count):
        os.link(files[number % len(files)], folder / f"in/{number:06}{suffix}")
    return folder


def _seconds(folder: Path, module: str, *arguments: str) -> float:
    """Run a module and return its wall time; then count and remove its outputs."""
    start = perf_counter()
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=as_installed(),
        check=True,
        capture_output=True,
    )
    seconds = perf_counter() - start
    if (folder / "out").exists():
        expected = len(list((folder / "in").iterdir()))
        assert _count_images(folder / "out") == expected, "files are missing"
        shutil.rmtree(folder / "out")
    return seconds


def _count_images(out: Path) -> int:
    """Return the number of images in .npy files or in shards."""
    count = len(list(out.glob("*.npy")))
    for shard in out.glob("*.tar"):
        with tarfile.open(shard) as archive:
            count += sum(name.endswith(".npy") for name in archive.getnames())
    for shard in out.glob("*.parquet"):
        count += pq.read_metadata(shard).num_rows
    return count


def _memory(scale: Scale) -> Case:
    return Case(
        "peak memory of graypipe stats, one process, gray uint8, 32, "
        f"{' and '.join(f'{n:,}' for n in COUNTS[scale.name])} files",
        {"task": "memory of stats"},
        ours={
            f"{count:,} files": _examined_here(count, images.random(scale.shape("32")))
            for count in COUNTS[scale.name]
        },
        gauge="resident",
    )


def _examined_here(count: int, image: Any) -> Run:
    """Return a function that runs ``stats`` in this process on links to ``image``."""
    folder = photographs.temporary_folder("names")
    # A file of some file systems has at most 65,000 links.
    for number in range(count):
        path = folder / f"{number:06}.npy"
        if number % 10_000 == 0:
            np.save(path, image)
            first = path
        else:
            os.link(first, path)

    def run() -> None:
        command = ["stats", str(folder), "--source", "gray", "--workers", "1"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(command) == 0

    return run
