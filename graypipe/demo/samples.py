"""The images of the demo, written to files and read back: photographs that ship with scikit-image, and drawn cells."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import Source, read

Array = NDArray[Any]
Sample = tuple[Array, Source]


def photograph(folder: Path, name: str) -> Sample:
    """Return the 8-bit gray photograph ``name`` of scikit-image, by way of a PNG file: (H, W) uint8."""
    from skimage import data

    return _through_file(getattr(data, name)(), folder / f"{name}.png")


def deep_photograph(folder: Path, name: str) -> Sample:
    """Return the photograph enlarged twice, its new levels in 16 bits, by way of a PNG file: (2H, 2W) uint16."""
    from skimage import data, transform

    image = getattr(data, name)()
    smooth = transform.rescale(image / 255, 2, order=3)
    return _through_file(
        np.rint(np.clip(smooth, 0, 1) * 65535).astype(np.uint16),
        folder / f"{name}-16bit.png",
    )


def drawn_cells(folder: Path) -> Sample:
    """Return drawn, not photographed, fluorescence images of cells: (H, W, 4) uint16 of 12 bits, RGBY.

    One 16-bit PNG file a band, as microscopes store them. Red are filaments, green spots, blue nuclei, yellow the
    surroundings of the nuclei.
    """
    stored = {
        band: np.rint(plane * 4095).astype(np.uint16)
        for band, plane in _cells(384, 512).items()
    }
    files = {band: folder / f"synthetic-{band}.png" for band in stored}
    planes = [
        _through_file(stored[band], files[band], bands=band, bits=12)[0]
        for band in files
    ]
    return np.dstack(planes), Source(tuple(stored), dtype="uint16", bits=12)


def _through_file(image: Array, path: Path, **declared: Any) -> Sample:
    from PIL import Image

    Image.fromarray(image).save(path)
    return read(path, **declared)


def _cells(height: int, width: int) -> dict[str, Array]:
    """Return the bands of a dozen cells, (height, width) float64 from 0 to 1, with the noise of counted photons."""
    random = np.random.default_rng(7)
    bands = {band: np.full((height, width), 0.01) for band in "RGBY"}
    for cell in range(12):
        row, column = divmod(cell, 4)
        middle = np.array([(row + 0.5) * height / 3, (column + 0.5) * width / 4])
        centre = middle + random.uniform(-24, 24, 2)
        for band, light in _cell(centre, (height, width), random).items():
            bands[band] += light
    return {
        band: np.clip(random.poisson(light * 300) / 300, 0, 1)
        for band, light in bands.items()
    }


def _cell(
    centre: Array, shape: tuple[int, int], random: np.random.Generator
) -> dict[str, Array]:
    """Return the light of one cell in each band: an oval nucleus, what lies round it, spots, and bent filaments."""
    y, x = np.mgrid[: shape[0], : shape[1]] - centre[:, None, None]
    turn, stretch = random.uniform(0, np.pi), random.uniform(1, 1.5)
    along, across = (
        x * np.cos(turn) + y * np.sin(turn),
        y * np.cos(turn) - x * np.sin(turn),
    )
    distance = np.hypot(along / stretch, across)
    filaments, spots = np.zeros(shape), np.zeros(shape)
    for start, bend in zip(
        random.uniform(-np.pi, np.pi, 26), random.normal(0, 0.012, 26), strict=True
    ):
        off = (
            np.angle(np.exp(1j * (np.arctan2(across, along) - start - bend * distance)))
            * distance
        )
        filaments = np.maximum(filaments, np.exp(-((off / 1.6) ** 2)))
    for along_spot, across_spot in random.normal(0, 20, (14, 2)):
        spots += np.exp(-((along - along_spot) ** 2 + (across - across_spot) ** 2) / 9)
    return {
        "R": 0.7 * filaments * np.exp(-((distance / 48) ** 4)),
        "G": 0.8 * spots,
        "B": 0.75 / (1 + np.exp((distance - 18) / 2)),
        "Y": 0.6 * np.exp(-(((distance - 25) / 9) ** 2)),
    }
