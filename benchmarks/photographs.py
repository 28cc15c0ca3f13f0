"""Photographs, and folders for their files: unlike random pixels, they can be compressed."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import data
from skimage.transform import resize

NOISE = 0.002
"""Standard deviation of the noise, from 0 to 1, without which the low bits of 16 would follow from their neighbours."""


def photograph(shape: tuple[int, ...], dtype: str, bands: str) -> NDArray[Any]:
    """Return a photograph over the whole range of ``dtype``: ``shape``, and a last axis of three if ``bands`` is RGB."""
    taken = data.astronaut() if bands == "RGB" else data.camera()
    unit = resize(taken / 255, shape, order=1)
    noise = np.random.default_rng(20).normal(0, NOISE, unit.shape)
    levels = np.clip(unit + noise, 0, 1) * np.iinfo(dtype).max
    return np.round(levels).astype(dtype)


def crops(shape: tuple[int, ...], count: int) -> Iterator[NDArray[Any]]:
    """Yield gray uint8 images of ``shape``: different parts of a photograph."""
    wide, random = np.tile(data.camera(), (1, 2)), np.random.default_rng(5)
    for shift in random.integers(0, 512, (count, 2)):
        yield np.roll(wide, tuple(shift), (0, 1))[: shape[0], : shape[1]]


def temporary_folder(group: str) -> Path:
    """Return a new folder, which is removed at the end of the process."""
    folder = Path(tempfile.mkdtemp(prefix=f"graypipe-{group}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
