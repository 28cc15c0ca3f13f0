"""Folders of images for the commands that work on whole data sets, and the commands as processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

import graypipe as gp

ROOT = Path(gp.__file__).parents[1]


def save(path, array, **options):
    """Write ``array`` in the format that the name says, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)
    return path


def images(folder, count, shape=(12, 16), dtype="uint8", ending=".png"):
    """Write ``count`` random images into two folders below ``folder``; return them, sorted by name."""
    rng = np.random.default_rng(7)
    made = {}
    for at in range(count):
        values = (
            rng.random(shape)
            if np.dtype(dtype).kind == "f"
            else rng.integers(0, np.iinfo(dtype).max + 1, shape)
        )
        path = folder / ("ab"[at % 2]) / f"{at:04}{ending}"
        made[path] = values.astype(dtype)
        save(path, made[path])
    return {path: made[path] for path in sorted(made)}


def tree(folder):
    """Return the bytes of every file below ``folder``, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def command(*argv):
    """Return the command line that runs ``graypipe`` in a process of its own."""
    return [sys.executable, "-m", "graypipe", *map(str, argv)]


def process(*argv, **options):
    """Run ``graypipe`` in a process of its own, to its end."""
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run(command(*argv), cwd=ROOT, timeout=600, check=False, **options)
