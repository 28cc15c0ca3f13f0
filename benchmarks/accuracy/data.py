"""Patches of colour images; the class of a patch is the image it was cut from."""

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
"""Patches are inside cells of 48 x 48 pixels, which start every 64 pixels."""

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
"""By class: a function that returns the image, (H, W, 3) uint8. The files come with scikit-image and scikit-learn."""


def patches(
    count: int, *, held_out: bool, rng: np.random.Generator
) -> tuple[Images, Labels]:
    """Return ``count`` patches of every photograph, (N, 32, 32, 3) uint8, and the classes they are of, (N,).

    Cells alternate like the squares of a chessboard: training patches come from the white ones and held-out patches
    from the black ones, so that no pixel is in both.
    """
    cut = [_cut(load(), count, held_out, rng) for load in PHOTOGRAPHS.values()]
    return np.concatenate(cut), np.repeat(np.arange(len(cut)), count)


def cells(height: int, width: int, *, held_out: bool) -> list[Cell]:
    """Return the upper left corners of the cells of an image."""
    corners = []
    for row in range((height - CELL) // PITCH + 1):
        for column in range((width - CELL) // PITCH + 1):
            is_black = (row + column) % 2 == 1
            if is_black == held_out:
                corners.append((row * PITCH, column * PITCH))
    return corners


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
