"""The images of the demo and their conversions.

The images are photographs from scikit-image and synthetic cells. They are written to
files and read back with `graypipe.read`, like the images of a real data set.
"""

from pathlib import Path
from typing import Any

import numpy as np

from .. import Source, plan
from ..io import read
from . import reference
from .checks import Case
from .reference import Array

Sample = tuple[Array, Source]

# Yellow light stimulates both the L (red) and M (green) cones of the eye, so the yellow
# band is averaged with the red and with the green band.
YELLOW_TO_RED_AND_GREEN: dict[str, str | dict[str, float]] = {
    "R": {"R": 0.5, "Y": 0.5},
    "G": {"G": 0.5, "Y": 0.5},
    "B": "B",
}

# The grid of synthetic cells, the size of the image, and the maximum offset of a cell
# from the centre of its grid position. Sizes and offsets are in pixels.
GRID_ROWS = 3
GRID_COLUMNS = 4
CELLS_HEIGHT = 384
CELLS_WIDTH = 512
MAX_OFFSET = 24

# Photons per pixel at full intensity; fewer photons give more noise.
PHOTONS = 300


def sample_cases(folder: Path) -> list[Case]:
    """Return the cases of the demo, after writing their images to ``folder``."""
    camera, camera_source = photograph(folder, "camera")
    coins, coins_source = photograph_16_bit(folder, "coins")
    moon, moon_source = photograph(folder, "moon")
    cells, cells_source = synthetic_cells(folder)
    return [
        Case(
            title="camera: a photograph, 8 bits",
            image=camera,
            plan=plan(camera_source, "imagenet"),
            preset="imagenet",
            reference=reference.gray8_to_imagenet,
        ),
        Case(
            title="coins: a photograph, enlarged, 16 bits",
            image=coins,
            plan=plan(coins_source, "keras-caffe"),
            preset="keras-caffe",
            reference=reference.gray16_to_caffe,
        ),
        Case(
            title="moon: a photograph, 8 bits",
            image=moon,
            plan=plan(moon_source, "rgb8"),
            preset="rgb8",
            reference=reference.gray8_to_rgb8,
        ),
        Case(
            title="cells: synthetic, 12 bits",
            image=cells,
            plan=plan(cells_source, "imagenet", via=YELLOW_TO_RED_AND_GREEN),
            preset="imagenet",
            reference=reference.rgby12_to_imagenet,
        ),
    ]


def photograph(folder: Path, name: str) -> Sample:
    """Return a gray photograph from scikit-image.

    Parameters
    ----------
    folder : Path
        The folder to which the photograph is written, as a PNG file.
    name : str
        The name of a function in `skimage.data`.

    Returns
    -------
    image : numpy.ndarray
        uint8 (H, W).
    source : Source
        The source that `graypipe.read` returns.
    """
    from skimage import data

    image = getattr(data, name)()
    return _write_and_read(image, folder / f"{name}.png")


def photograph_16_bit(folder: Path, name: str) -> Sample:
    """Return a photograph upscaled by 2 and quantised to 16 bits.

    Interpolation gives values between the 256 levels of the original. The parameters
    are the same as in `photograph`; the image is uint16 (2H, 2W).
    """
    from skimage import data, transform

    image = getattr(data, name)()
    enlarged = transform.rescale(image / 255, 2, order=3)
    # Cubic interpolation overshoots the range 0 to 1 slightly at edges.
    image16 = np.rint(np.clip(enlarged, 0, 1) * 65535).astype(np.uint16)
    return _write_and_read(image16, folder / f"{name}-16bit.png")


def synthetic_cells(folder: Path) -> Sample:
    """Return a synthetic fluorescence image of cells in the bands R, G, B and Y.

    Red shows filaments, green spots, blue nuclei, and yellow a ring around each
    nucleus. As is common in microscopy, each band is a 16-bit PNG file that uses 12
    bits.

    Parameters
    ----------
    folder : Path
        The folder to which the files are written.

    Returns
    -------
    image : numpy.ndarray
        uint16 (H, W, 4).
    source : Source
        The source of the four bands.
    """
    planes = []
    bands = _draw_cells()
    for band, intensity in bands.items():
        plane = np.rint(intensity * 4095).astype(np.uint16)
        path = folder / f"synthetic-{band}.png"
        plane_read, _ = _write_and_read(plane, path, bands=band, bits=12)
        planes.append(plane_read)
    return np.dstack(planes), Source(tuple(bands), dtype="uint16", bits=12)


def _write_and_read(image: Array, path: Path, **declared: Any) -> Sample:
    """Write ``image`` to a PNG file and read it with graypipe."""
    from PIL import Image

    Image.fromarray(image).save(path)
    return read(path, **declared)


def _draw_cells() -> dict[str, Array]:
    """Return the intensity of each band with photon noise: (H, W) float64, 0 to 1."""
    # A fixed seed: the demo shows the same cells every time.
    rng = np.random.default_rng(7)
    shape = (CELLS_HEIGHT, CELLS_WIDTH)
    # 0.01 is the background of a dark, empty slide.
    bands = {band: np.full(shape, 0.01) for band in "RGBY"}
    for row in range(GRID_ROWS):
        for column in range(GRID_COLUMNS):
            grid_centre = np.array(
                [
                    (row + 0.5) * CELLS_HEIGHT / GRID_ROWS,
                    (column + 0.5) * CELLS_WIDTH / GRID_COLUMNS,
                ]
            )
            centre = grid_centre + rng.uniform(-MAX_OFFSET, MAX_OFFSET, 2)
            for band, intensity in _draw_cell(centre, shape, rng).items():
                bands[band] += intensity
    noisy_bands = {}
    for band, intensity in bands.items():
        photons = rng.poisson(intensity * PHOTONS)
        noisy_bands[band] = np.clip(photons / PHOTONS, 0, 1)
    return noisy_bands


def _draw_cell(
    centre: Array, shape: tuple[int, int], rng: np.random.Generator
) -> dict[str, Array]:
    """Return the intensity of one cell in each band. All lengths are in pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]] - centre[:, None, None]
    # The nucleus is an ellipse: rotate the coordinates to align with its axes.
    rotation = rng.uniform(0, np.pi)
    elongation = rng.uniform(1, 1.5)
    along = x * np.cos(rotation) + y * np.sin(rotation)
    across = y * np.cos(rotation) - x * np.sin(rotation)
    distance = np.hypot(along / elongation, across)
    direction = np.arctan2(across, along)

    # 26 filaments run outwards. Their angle changes with the distance from the centre.
    filaments = np.zeros(shape)
    start_directions = rng.uniform(-np.pi, np.pi, 26)
    bends = rng.normal(0, 0.012, 26)
    for start, bend in zip(start_directions, bends, strict=True):
        angle = direction - start - bend * distance
        # np.angle(np.exp(1j * a)) wraps the angle a to [-pi, pi].
        offset = np.angle(np.exp(1j * angle)) * distance
        filaments = np.maximum(filaments, np.exp(-((offset / 1.6) ** 2)))

    spots = np.zeros(shape)
    for spot_along, spot_across in rng.normal(0, 20, (14, 2)):
        squared_distance = (along - spot_along) ** 2 + (across - spot_across) ** 2
        spots += np.exp(-squared_distance / 9)

    return {
        # Filaments fade out 48 pixels from the centre.
        "R": 0.7 * filaments * np.exp(-((distance / 48) ** 4)),
        "G": 0.8 * spots,
        # The nucleus has a radius of 18 pixels and a soft edge.
        "B": 0.75 / (1 + np.exp((distance - 18) / 2)),
        # A ring around the nucleus.
        "Y": 0.6 * np.exp(-(((distance - 25) / 9) ** 2)),
    }
