"""Folders of 200 to 20,000 files through ``graypipe convert`` and ``stats``, from start to end, beside the scripts people
write; and the memory of the command for up to 100,000 files."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from graypipe.cli import main

from .. import images, obvious_conversion, obvious_statistics, photographs
from ..case import Build, Case, Run
from ..engines import OURS
from ..processes import ROOT
from ..scale import Scale

SCRIPT = "Pillow, NumPy and a pool of processes"
MOST_FILES = 2000
"""Larger folders hold links to these many files."""

# What is done with how many files of which kind, by how many processes.
JOBS = {
    "full": (
        *(("convert", "JPEG", 200, workers) for workers in (1, 2)),
        *(("convert", "PNG", 200, workers) for workers in (1, 2)),
        ("convert", "PNG, 16 bits", 200, 2),
        ("convert", "JPEG", 2000, 2),
        ("convert", "PNG", 2000, 2),
        ("convert", "PNG", 20_000, 2),
        ("stats", "JPEG", 200, 2),
        ("stats", "PNG", 200, 2),
        ("stats", "PNG, 16 bits", 200, 2),
        ("stats", "PNG", 2000, 2),
    ),
    "quick": (("convert", "PNG", 200, 2), ("stats", "JPEG", 200, 2)),
    "tiny": (("convert", "PNG, 16 bits", 3, 1), ("stats", "JPEG", 3, 2)),
}
COUNTS = {"full": (1000, 100_000), "quick": (100, 1000), "tiny": (2, 4)}


def cases(scale: Scale) -> Iterator[Build]:
    """Yield the jobs and the memory."""
    for job in JOBS[scale.name]:
        yield partial(_job, scale, *job)
    yield partial(_memory, scale)


def _job(scale: Scale, command: str, kind: str, count: int, workers: int) -> Case:
    folder = _folder(scale.shape("256"), kind, count)
    source = "gray:16" if "16" in kind else "gray"
    arguments = [command, str(folder / "in")]
    options = ["--source", source, "--workers", str(workers)]
    script = [obvious_statistics.__file__, str(folder / "in")]
    if command == "convert":
        arguments.append(str(folder / "out"))
        options += ["--target", "imagenet", "--to", "npy"]
        script = [obvious_conversion.__file__, *arguments[1:]]
    return Case(
        f"{command}, {count:,} gray images, 256, {kind}, {workers} processes",
        {"task": f"job of {command}", "size": "256", "format": kind},
        ours={OURS: partial(_seconds, folder, "-m", "graypipe", *arguments, *options)},
        peer={SCRIPT: partial(_seconds, folder, *script, str(workers))},
        gauge="reported",
    )


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


def _seconds(folder: Path, *command: str) -> float:
    """Return how long Python takes for ``command``, after counting its outputs."""
    start = perf_counter()
    subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=True, capture_output=True
    )
    seconds = perf_counter() - start
    if (folder / "out").exists():
        written = len(list((folder / "out").glob("*.npy")))
        assert written == len(list((folder / "in").iterdir())), "files are missing"
        shutil.rmtree(folder / "out")
    return seconds


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
