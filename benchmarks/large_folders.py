"""``python -m benchmarks.large_folders``: what a file costs ``graypipe convert``.

The constants behind the table for millions of images in docs/scale.md, in seconds of
processor time and bytes. They are written to ``benchmarks/results/large_folders.json``.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

from PIL import Image

from graypipe.batch_jobs.chunks import split_into_chunks
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main
from graypipe.cli.image_files import list_images

from . import photographs, results
from .processes import ROOT

RECORD = results.RECORD / "large_folders.json"
LIBRARIES = ("numpy", "numba", "imagecodecs", "simplejpeg")
LISTED_FILES = 10_000
CONVERTED_FILES = 200
# The memory for a name is the difference between these numbers of tiny images.
FEW_FILES, MANY_FILES = 1000, 31_000
SHAPE = (240, 272)
OPTIONS = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers", "1")

# Prints the peak memory of a command. The system counts the memory of the process that
# starts the command, too, so this one is small.
PEAK = """
import os, subprocess, sys
running = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(running.pid, 0)
assert status == 0
print(usage.ru_maxrss)
"""


def measure() -> dict[str, float]:
    """Return what a file costs: seconds of processor time, or bytes."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            **_measure_listing(Path(folder, "listed")),
            **_measure_memory(Path(folder)),
            **_measure_conversion(Path(folder), "png"),
            **_measure_conversion(Path(folder), "jpg"),
        }


def _measure_listing(folder: Path) -> dict[str, float]:
    """Return the time for a name."""
    for path in _names(folder, LISTED_FILES):
        path.touch()
    start = process_time()
    chunks = list(split_into_chunks(list_images(folder), folder))
    seconds = process_time() - start
    assert sum(map(len, chunks)) == LISTED_FILES
    return {"list": seconds / LISTED_FILES}


def _names(folder: Path, count: int) -> Iterator[Path]:
    """Yield names of files, in folders of 1,000, which are created."""
    for index in range(count):
        path = folder / f"{index // 1000:05}" / f"image-{index:09}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path


def _measure_memory(folder: Path) -> dict[str, float]:
    """Return how much the peak memory of ``convert`` grows with a file."""
    few = _peak(folder / "few", FEW_FILES)
    many = _peak(folder / "many", MANY_FILES)
    return {"memory": (many - few) / (MANY_FILES - FEW_FILES)}


def _peak(folder: Path, count: int) -> int:
    """Return the peak memory of the command for links to a tiny image, in bytes."""
    tiny = folder.with_suffix(".png")
    Image.new("L", (8, 8)).save(tiny)
    for path in _names(folder, count):
        os.link(tiny, path)
    argv = ["convert", str(folder), f"{folder}-out", *OPTIONS]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, sys.executable, "-m", "graypipe", *argv],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return int(done.stdout) * 1024  # Linux reports KiB


def _measure_conversion(folder: Path, suffix: str) -> dict[str, float]:
    """Return the time to convert a file with one process, and the size of its line."""
    images, out = folder / suffix, folder / f"{suffix}-out"
    images.mkdir()
    for index, image in enumerate(photographs.crops(SHAPE, CONVERTED_FILES)):
        Image.fromarray(image).save(images / f"image-{index:09}.{suffix}")
    # The first call compiles and imports.
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["convert", str(images), f"{out}-first", *OPTIONS]) == 0
        start = process_time()
        assert main(["convert", str(images), str(out), *OPTIONS]) == 0
        seconds = process_time() - start
    lines = (out / MANIFEST_NAME).read_bytes().splitlines(keepends=True)[1:]
    return {
        suffix: seconds / CONVERTED_FILES,
        "manifest": sum(map(len, lines)) / len(lines),
    }


if __name__ == "__main__":
    record = results.measured(LIBRARIES, costs=measure())
    results.save(record, RECORD)
    print(RECORD)
