"""Folders of images for the commands that process data sets, and the commands themselves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

import graypipe as gp

ROOT = Path(gp.__file__).parents[1]

# Seconds after which a process counts as hanging. No test depends on how fast it is.
HANGING = 600

# Ray gives up if its processes do not start within 30 seconds, which no option changes.
RAY_NOT_STARTED = "timed out during startup"
RAY_ATTEMPTS = 10


def save(path, array, **options):
    """Write ``array`` in the format of the suffix of ``path``, and return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)
    return path


def images(folder, count, shape=(12, 16), dtype="uint8", ending=".png"):
    """Write random images to two subfolders of ``folder``; return them sorted by path."""
    rng = np.random.default_rng(7)
    arrays = {}
    for index in range(count):
        if np.dtype(dtype).kind == "f":
            values = rng.random(shape)
        else:
            values = rng.integers(0, np.iinfo(dtype).max + 1, shape)
        path = folder / "ab"[index % 2] / f"{index:04}{ending}"
        arrays[path] = values.astype(dtype)
        save(path, arrays[path])
    return dict(sorted(arrays.items()))


def tree(folder):
    """Return the content of every file below ``folder``, by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def command(*argv, python_options=()):
    """Return the command line that runs ``graypipe`` in a process of its own."""
    return [sys.executable, *python_options, "-m", "graypipe", *map(str, argv)]


def process(*argv, python_options=(), **options):
    """Run ``graypipe`` in a process of its own and wait for its end."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        command(*argv, python_options=python_options),
        cwd=ROOT,
        timeout=HANGING,
        check=False,
        **{"text": True, **options},
    )


def process_with_ray(*argv, **options):
    """Run ``graypipe`` as `process` does, again if a busy machine keeps Ray from starting."""
    for _ in range(RAY_ATTEMPTS):
        done = process(*argv, "--engine", "ray", **options)
        if RAY_NOT_STARTED not in done.stderr:
            break
    return done
