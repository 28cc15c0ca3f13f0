"""Rendered scenes: where plants are comes from patterns and photographs, how they look from measured spectra.

The classes are three patterns of plants with much or little water in their leaves, bare soil, and dry plant matter.
Patterns can be seen in every band, dry matter and soil differ little in the visible ones, and leaf water absorbs light
in the short-wave infrared only.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import graypipe as gp

from .spectra import BANDS, CANOPY_NM, SENSOR, Library, Spectra, in_bands, wavelengths

PATTERNS = ("closed", "rows", "trees")
WATER = {"moist": (0.012, 0.030), "dry": (0.002, 0.008)}
"""Equivalent water thickness of the leaves in cm."""
SOIL, LITTER = "bare soil", "dry matter"
CLASSES = (
    *(f"{pattern}, {water}" for pattern, water in product(PATTERNS, WATER)),
    SOIL,
    LITTER,
)
CANOPY = {
    "n": (1.3, 2.2),
    "cab": (25, 65),
    "car": (6, 14),
    "cbrown": (0, 0.1),
    "cm": (0.004, 0.012),
    "lai": (2, 5),
    "lidfa": (35, 65),
    "hspot": (0.05, 0.2),
    "tts": (25, 55),
}
"""Parameters of PROSAIL, drawn uniformly and independently of the class."""
SOURCE = gp.Source.from_sensor(SENSOR, BANDS, layout="HWC", nodata=None)
"""How the scenes are encoded: as those of the sensor, without missing pixels."""
SHRINK = 4
"""From photographs of 224 x 224 pixels to scenes of 56 x 56."""


class Scenes(NamedTuple):
    """Images (N, H, W, 7) in uint16 and their classes, as numbers."""

    images: NDArray[np.uint16]
    labels: NDArray[np.int64]


def textures(photographs: NDArray[np.uint8]) -> Spectra:
    """Return the luminance of ``photographs`` (N, H, W, 3) as ranks from 0 to 1, (N, H / 4, W / 4)."""
    luminance = gp.luminance()(
        photographs, layout="NHWC", out_layout="NHW", dtype="float32"
    )
    count, height, width = luminance.shape
    blocks = luminance.reshape(count, height // SHRINK, SHRINK, width // SHRINK, SHRINK)
    small = blocks.mean(axis=(2, 4))
    pixels = small.reshape(count, -1)
    ranks = pixels.argsort(axis=1).argsort(axis=1) / (pixels.shape[1] - 1)
    return ranks.reshape(small.shape)


def parts(
    library: Library,
    photographs: Spectra,
    counts: tuple[int, ...],
    rng: np.random.Generator,
) -> list[Scenes]:
    """Return disjoint parts of ``counts`` scenes: no photograph and no measured spectrum is in two of them.

    ``photographs`` are those of `textures`. The first part gets half of the measured spectra, the others equal shares
    of the rest.
    """
    order = rng.permutation(len(photographs))
    bounds = np.cumsum(counts)[:-1]
    soils = _shares(library.soils, len(counts), rng)
    litter = _shares(library.litter, len(counts), rng)
    rendered = []
    for number, chosen in enumerate(np.split(order[: sum(counts)], bounds)):
        part = library._replace(soils=soils[number], litter=litter[number])
        rendered.append(_render_all(part, photographs[chosen], rng))
    return rendered


def exchanged(scenes: Scenes, bands: slice, rng: np.random.Generator) -> Scenes:
    """Return ``scenes`` in which ``bands`` are those of another scene, which tell nothing about the class."""
    images = scenes.images.copy()
    order = rng.permutation(len(images))
    # The next one in a random cycle: every scene gets the bands of another
    images[order, ..., bands] = scenes.images[np.roll(order, 1), ..., bands]
    return scenes._replace(images=images)


def _shares(spectra: Spectra, count: int, rng: np.random.Generator) -> list[Spectra]:
    shuffled = rng.permutation(spectra)
    first = len(spectra) // 2
    return [shuffled[:first], *np.array_split(shuffled[first:], count - 1)]


def _render_all(
    library: Library, photographs: Spectra, rng: np.random.Generator
) -> Scenes:
    labels = rng.permutation(np.arange(len(photographs)) % len(CLASSES))
    images = [
        render(library, CLASSES[label], photograph, rng)
        for label, photograph in zip(labels, photographs, strict=True)
    ]
    return Scenes(np.stack(images), labels)


def render(
    library: Library, name: str, photograph: Spectra, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return a scene of the class ``name`` with the texture of ``photograph``, (H, W, 7)."""
    soil = rng.choice(library.soils)
    ground = in_bands(soil, library.nm)
    if name == SOIL:
        cover, share = in_bands(rng.choice(library.soils), library.nm), photograph
    elif name == LITTER:
        cover = in_bands(rng.choice(library.litter), library.nm)
        share = 0.4 + 0.6 * photograph
    else:
        pattern, water = name.split(", ")
        cover = _canopy(library, soil, WATER[water], rng)
        share = _pattern(pattern, photograph.shape, rng) * (0.7 + 0.3 * photograph)
    surface = share[..., None] * cover + (1 - share[..., None]) * ground
    return _observe(surface, photograph, rng)


def _canopy(
    library: Library,
    soil: Spectra,
    water: tuple[float, float],
    rng: np.random.Generator,
) -> Spectra:
    parameters = {name: rng.uniform(*bounds) for name, bounds in CANOPY.items()}
    below = np.interp(CANOPY_NM, library.nm, soil)
    return in_bands(
        library.canopy(below, cw=rng.uniform(*water), **parameters), CANOPY_NM
    )


def _pattern(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Spectra:
    """Return how much of each pixel plants cover, from 0 to 1."""
    rows, columns = np.indices(shape)
    if name == "closed":
        return np.ones(shape)
    if name == "rows":
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 12)
        across = rows * np.sin(angle) + columns * np.cos(angle)
        wave = np.sin(2 * np.pi * (across / period + rng.uniform()))
        return np.clip(0.55 + wave, 0, 1)
    cover = np.zeros(shape)
    for _ in range(rng.integers(15, 30)):
        row, column = rng.uniform(0, shape)
        distance = np.hypot(rows - row, columns - column)
        cover = np.maximum(cover, np.clip(rng.uniform(3, 6) - distance, 0, 1))
    return cover


def _observe(
    surface: Spectra, photograph: Spectra, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return what the sensor makes of reflectances: with shade, gain, haze and noise, as uint16."""
    shade = 1 + rng.uniform(0.2, 0.5) * (photograph[..., None] - 0.5)
    haze = rng.uniform(0, 0.05) * (wavelengths() / 490) ** -1.3
    seen = rng.uniform(0.75, 1.25) * shade * surface * (1 - haze) + haze
    noisy = seen + rng.normal(0, 0.004, seen.shape)
    return np.rint(1000 + 10000 * np.clip(noisy, 0, 1.2)).astype(np.uint16)
