"""Runs of ``graypipe convert`` and ``graypipe stats`` that the targets disturb."""

# mypy: ignore-errors

import atexit
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]

# Several chunks, and images in two folders.
IMAGES = 120

WORKERS = (1, 1, 2, 3)

# The formats that convert writes. Images of several shapes cannot become a Zarr array.
FORMATS = ("png", "npy", "webdataset", "parquet")


class Job(NamedTuple):
    """A command with its images, and what it writes if nothing disturbs it.

    Parameters
    ----------
    command : str
        "stats", or "convert" and a format.
    workers : int
    images : Path
        The folder of the images, which exists as long as this process.
    expected : dict
        The content of each file below the output folder.
    seconds : float
        How long the command took.
    """

    command: str
    workers: int
    images: Path
    expected: dict[str, bytes]
    seconds: float


def random_job(random):
    """Return a random job; most of them convert images."""
    command = f"convert {random.choice(FORMATS)}"
    if random.random() < 0.25:
        command = "stats"
    return job(command, int(random.choice(WORKERS)))


@cache
def job(command, workers):
    """Return a job after running it once."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        start = time.monotonic()
        code, errors = wait(run(command, workers, _images(), out))
        seconds = time.monotonic() - start
        assert (code, errors) == (0, ""), f"exit code {code}: {errors}"
        return Job(command, workers, _images(), tree(out), seconds)


@cache
def _images():
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    random = np.random.default_rng(1)
    for index in range(IMAGES):
        path = folder / "ab"[index % 2] / f"{index:03}.png"
        path.parent.mkdir(exist_ok=True)
        image = random.integers(0, 256, (60 + index % 40, 80), np.uint8)
        Image.fromarray(image).save(path)
    return folder


def run(command, workers, images, out, *options, limits=()):
    """Start a command in a process group of its own.

    ``limits`` holds pairs of a resource and the limit of the process for it.
    """
    command, *to = command.split()
    if command == "convert":
        arguments = [images, out, "--target", "rgb8", "--to", *to]
        if to[0] in ("webdataset", "parquet"):
            arguments += ["--shard-images", 10]
    else:
        out.mkdir(exist_ok=True)
        arguments = [images, "--json", out / "stats.json"]
    arguments += ["--source", "gray", "--workers", workers, *options]

    def prepare():
        # A shell makes processes in the background ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for name, limit in limits:
            resource.setrlimit(name, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "graypipe", command, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  # there are no threads
    )


def wait(process):
    """Return exit code and errors, when the command and all of its workers have ended."""
    _, errors = process.communicate()
    return process.returncode, errors


def tree(folder):
    """Return the content of every file below ``folder``, by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_finished(job, out):
    """Finish a disturbed job, and compare its output with that of an undisturbed one."""
    options = ["--resume"] if job.command != "stats" else []
    code, errors = wait(run(job.command, job.workers, job.images, out, *options))
    assert (code, errors) == (0, ""), f"resumed: exit code {code}: {errors}"
    result = tree(out)
    assert result.keys() == job.expected.keys(), sorted(result.keys() ^ job.expected)
    assert result == job.expected, "a file differs from that of an undisturbed run"
