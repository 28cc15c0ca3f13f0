"""Data sets and helpers that the tests of statistics share."""

import numpy as np

import graypipe as gp

RNG = np.random.default_rng(90)

SOURCES = {
    "declared bits": gp.Source("RGBY", bits=12),
    "implied by uint16": gp.Source("RGBY"),
    "per band, one reversed": gp.Source(
        "RGBY", range=((0, 4095), (3000, 10), (5, 2000), (0.5, 1999.25))
    ),
    "clipped": gp.Source(
        "RGBY",
        range=((500, 1200), (1500, 700.25), (600.5, 1100), (0, 65535)),
        clip=True,
    ),
    "clipped, nodata": gp.Source("RGBY", range=(700.1, 1500.7), clip=True, nodata=900),
    "nodata": gp.Source("RGBY", bits=12, nodata=900),
}


def scenes(bands=4, dtype=np.uint16, top=4096, count=4):
    """Return images (H, W, bands) of correlated bands."""
    base = RNG.integers(0, top, (count, 20, 30, bands))
    mixed = base @ RNG.uniform(0, 1, (bands, bands)) / bands
    return list(mixed.astype(dtype))


def gather(source, images):
    """Return the statistics of ``images``."""
    stats = gp.BandStats(source)
    for image in images:
        stats.update(image)
    return stats


def through(plan, images, keep=None):
    """Return the results of a plan for all pixels, (pixels, bands)."""
    y = np.stack([plan(image) for image in images]).reshape(-1, len(plan.target.bands))
    return y if keep is None else y[keep]


def replacing(*path, value):
    """Return a function that sets the entry of a JSON record at ``path``."""

    def replace(record):
        *parents, last = path
        for key in parents:
            record = record[key]
        record[last] = value

    return replace
