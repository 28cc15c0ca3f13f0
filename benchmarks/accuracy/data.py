"""Patches of colour images that scikit-image and scikit-learn bring; their class is the image they were cut from."""

from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Cell = tuple[int, int]

SIDE = 32
"""Rows and columns of a patch."""
CELL, PITCH = 48, 64
"""Patches lie within cells of 48 x 48, which start every 64 pixels: what is between cells is never looked at."""

PHOTOGRAPHS = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "rocket": skimage.data.rocket,
    "tissue": skimage.data.immunohistochemistry,
    "retina": skimage.data.retina,
    "galaxies": skimage.data.hubble_deep_field,
    "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
    "palace": lambda: load_sample_image("china.jpg"),
    "flower": lambda: load_sample_image("flower.jpg"),
}
"""By class: what returns the image, (H, W, 3) uint8. All are files of the two packages: nothing is downloaded."""


def patches(
    count: int, *, held_out: bool, rng: np.random.Generator
) -> tuple[Images, Labels]:
    """Return ``count`` patches of every photograph, (N, 32, 32, 3) uint8, and the classes they are of, (N,).

    Cells are coloured as a chessboard is: patches for training come from the white ones, held-out patches from the
    black ones, so that no pixel is in both.
    """
    cut = [_cut(load(), count, held_out, rng) for load in PHOTOGRAPHS.values()]
    return np.concatenate(cut), np.repeat(np.arange(len(cut)), count)


def cells(height: int, width: int, *, held_out: bool) -> list[Cell]:
    """Return the upper left corners of the cells of an image."""
    return [
        (row * PITCH, column * PITCH)
        for row in range((height - CELL) // PITCH + 1)
        for column in range((width - CELL) // PITCH + 1)
        if (row + column) % 2 == held_out
    ]


def _cut(
    photograph: NDArray[Any], count: int, held_out: bool, rng: np.random.Generator
) -> Images:
    chosen = rng.choice(cells(*photograph.shape[:2], held_out=held_out), count)
    corners = chosen + rng.integers(0, CELL - SIDE, (count, 2), endpoint=True)
    return np.stack(
        [
            photograph[row : row + SIDE, column : column + SIDE]
            for row, column in corners
        ]
    )
