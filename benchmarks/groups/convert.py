"""A folder of files through ``graypipe convert``: seconds from start to end beside the script people write, on local
processes and on Ray; and the memory it needs for more and more files."""

import contextlib
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graypipe.cli import main

from .. import images, normalisation, obvious_conversion, photographs
from ..case import Build, Case, Run
from ..engines import OURS
from ..processes import ROOT
from ..scale import Scale

WORKERS = 2
RAY = "graypipe, Ray on one machine"
SCRIPT = "Pillow, NumPy and a pool of processes"
FILES = {"full": {"256": 2000, "512": 1000}, "quick": {"256": 200}, "tiny": {"256": 3}}
COUNTS = {"full": (100, 1000, 10_000), "quick": (100, 1000), "tiny": (2, 4)}
PLAN = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers")


def cases(scale: Scale) -> Iterator[Build]:
    """Yield throughput and memory."""
    for size, count in FILES[scale.name].items():
        yield partial(_throughput, scale, size, count)
    yield partial(_memory, scale)


def _throughput(scale: Scale, size: str, count: int) -> Case:
    """Return the case of ``count`` files: the start of the processes counts, as it does for whoever waits.

    Ray is left away in tests of the benchmarks: those of the command run it.
    """
    folder = _made(photographs.crops(scale.shape(size), count))
    ours = {OURS: partial(_seconds, folder, *_command(folder))}
    if scale.name != "tiny":
        ours[RAY] = partial(_seconds, folder, *_command(folder), "--engine", "ray")
    script = (
        sys.executable,
        obvious_conversion.__file__,
        *_folders(folder),
        str(WORKERS),
    )
    return Case(
        f"{count:,} photographs, gray uint8, {size}, PNG to npy, {WORKERS} processes",
        {"task": "convert", "size": size},
        ours=ours,
        peer={SCRIPT: partial(_seconds, folder, *script)},
        gauge="reported",
    )


def _made(pixels: Iterator[NDArray[Any]]) -> Path:
    """Return a folder with the images as PNG files in it; it is removed at the end of the process."""
    folder = photographs.temporary_folder("convert")
    (folder / "in").mkdir()
    for at, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"in/{at:05}.png")
    return folder


def _folders(folder: Path) -> tuple[str, str]:
    return str(folder / "in"), str(folder / "out")


def _command(folder: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "graypipe",
        "convert",
        *_folders(folder),
        *PLAN,
        str(WORKERS),
    ]


def _seconds(folder: Path, *command: str) -> float:
    """Return how long ``command`` takes, after checking what it wrote."""
    start = perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    seconds = perf_counter() - start
    sources, written = sorted(folder.glob("in/*.png")), sorted(folder.glob("out/*.npy"))
    assert [path.stem for path in written] == [path.stem for path in sources], (
        "files are missing"
    )
    answer = np.moveaxis(normalisation.oracle(np.array(Image.open(sources[-1]))), -1, 0)
    assert np.allclose(np.load(written[-1]), answer, rtol=1e-5, atol=1e-5), (
        "the last file is wrong"
    )
    shutil.rmtree(folder / "out")
    return seconds


def _memory(scale: Scale) -> Case:
    shape = scale.shape("32")
    return Case(
        f"peak memory of one process, gray uint8, 32, {' and '.join(f'{n:,}' for n in COUNTS[scale.name])} files",
        {"task": "memory"},
        ours={
            f"{count:,} files": _converted_here(count, images.random(shape))
            for count in COUNTS[scale.name]
        },
        gauge="resident",
    )


def _converted_here(count: int, image: NDArray[Any]) -> Run:
    """Return a function that converts ``count`` copies of ``image`` in this process."""
    folder = _made(image for _ in range(count))

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["convert", *_folders(folder), *PLAN, "1"]) == 0
        shutil.rmtree(folder / "out")

    return run
