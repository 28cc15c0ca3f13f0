"""Compare measured statistics with those published for the images of a sensor.

Data sets differ from one another by factors of two or three, so only gross differences
are reported: another scale of all bands, the offset of another processing baseline, and
bands whose mean is ten times too large or too small. The cirrus and water vapour bands
of Sentinel-2 are that much darker than all others, so that labels in a wrong order show
there.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import number_bands
from ..errors import ChannelError
from ..sensor import Sensor, describe_bands, sensor, sensors
from ..target import preset

Floats = NDArray[np.float64]

# A mean, or the scale of all bands, is implausible if it is off by this factor.
MAX_FACTOR = 10.0

# The cost of taking a band for another one, in squared decimal logarithms: that of a
# mean and a std that are both off by a factor of 1.25. It keeps similar bands in place.
RENAMING_COST = 0.02

# Smallest unit intensity of which the logarithm is taken: less than one step of the
# 10,000 between black and white.
FLOOR = 1e-5


def sensor_notes(
    name: str,
    bands: tuple[str, ...],
    mean: Floats,
    std: Floats,
    minimum: Floats,
) -> tuple[str, ...]:
    """Return what is implausible about the statistics of images of a sensor.

    Parameters
    ----------
    name : str
        Name of the sensor.
    bands : tuple of str
        The bands of the images, by any of their names; or band1 to bandN, which are all
        bands of the sensor in the order of its files.
    mean, std, minimum : ndarray of float64, shape (bands,)
        The statistics in stored values.

    Returns
    -------
    tuple of str
        One sentence per finding; empty if everything is plausible.

    Raises
    ------
    ChannelError
        If the sensor is unknown, lacks a band, or has no published statistics.
    """
    facts = sensor(name)
    published = published_statistics(facts)
    names = official_names(bands, facts)
    columns = [index for index, band in enumerate(names) if band in published]
    if not columns:
        raise ChannelError(
            f"no statistics of the bands {', '.join(map(repr, names))} of {name!r} are "
            f"published: they are those of the preset {facts.statistics!r}"
        )
    names = tuple(names[index] for index in columns)
    expected = np.array([published[band] for band in names])  # mean and std
    black, white = _levels(names, facts)
    scale = float(np.median(std[columns] / ((white - black) * expected[:, 1])))
    if not 1 / MAX_FACTOR < scale < MAX_FACTOR:
        return (
            f"the standard deviations are {scale:.3g} times the published ones: the "
            "values are in another unit than the files of the sensor, so declare "
            "their range=",
        )
    notes = []
    other = _other_encoding(float(minimum.min()), facts)
    if other is not None:
        other_black, white = _levels(names, other)
        notes.append(
            f"the lowest value is {minimum.min():g}, so black is probably "
            f"{other_black[0]:g} and not {black[0]:g}: the images look like "
            f"{other.name!r}"
        )
        black = other_black
    measured = np.stack([mean[columns] - black, std[columns]], axis=1)
    measured /= (white - black)[:, None]
    return (*notes, *_band_notes(names, measured, expected))


def official_names(bands: tuple[str, ...], facts: Sensor) -> tuple[str, ...]:
    """Return the official names of the bands of an image, as for `sensor_notes`.

    Raises
    ------
    ChannelError
        If a band is not one of the sensor, or two are the same.
    """
    if bands == number_bands(range(1, len(facts.bands) + 1)):
        return facts.bands
    described = describe_bands(facts, bands)
    names = tuple(name for name in described if name is not None)
    if len(names) == len(bands):
        return names
    names = tuple(facts.band(band) for band in bands)
    if len(set(names)) < len(names):
        raise ChannelError(f"two of the bands are the same band of {facts.name!r}")
    return names


def published_statistics(facts: Sensor) -> dict[str, tuple[float, float]]:
    """Return the published mean and std of the bands, on unit intensities.

    Raises
    ------
    ChannelError
        If there are none.
    """
    if facts.statistics is None:
        known = ", ".join(name for name in sensors() if sensor(name).statistics)
        raise ChannelError(
            f"no statistics are published for {facts.name!r}; for these they are: "
            f"{known}"
        )
    target = preset(facts.statistics)
    black, white = target.range
    means = np.broadcast_to(target.mean, len(target.bands))
    stds = np.broadcast_to(target.std, len(target.bands))
    statistics = {}
    for band, mean, std in zip(target.bands, means, stds, strict=True):
        unit_mean = (float(mean) - black) / (white - black)
        statistics[facts.band(band)] = (unit_mean, float(std) / (white - black))
    return statistics


def _levels(names: tuple[str, ...], facts: Sensor) -> tuple[Floats, Floats]:
    """Return the stored values of black and of white of some bands."""
    declared: Any = facts.range
    pairs = np.broadcast_to(np.array(declared, np.float64), (len(facts.bands), 2))
    columns = [facts.bands.index(band) for band in names]
    return pairs[columns, 0], pairs[columns, 1]


def _other_encoding(lowest: float, facts: Sensor) -> Sensor | None:
    """Return the sensor with the same bands whose black fits the lowest value better.

    Dark pixels occur in every data set, and atmospheric correction puts some of them
    below black, but not by a reflectance of 0.05.
    """
    black = _levels(facts.bands, facts)[0].min()
    for name in sensors():
        other = sensor(name)
        if other.bands != facts.bands or other.statistics != facts.statistics:
            continue
        other_black = _levels(other.bands, other)[0].min()
        if other_black < black and lowest < (other_black + black) / 2:
            return other
        if other_black > black and lowest >= 0.9 * other_black:
            return other
    return None


def _band_notes(
    names: tuple[str, ...], measured: Floats, expected: Floats
) -> list[str]:
    """Return a note on the order of the bands, and one on each implausible band.

    ``measured`` and ``expected`` are mean and std of each band on unit intensities.
    """
    values = np.log10(np.maximum(measured, FLOOR))
    published = np.log10(np.maximum(expected, FLOOR))
    implausible = np.flatnonzero(_is_implausible(values, published))
    if not implausible.size:
        return []
    notes = []
    order = _most_plausible_order(values, published)
    explains_all = not _is_implausible(values, published[order]).any()
    if explains_all:
        moved = [index for index, origin in enumerate(order) if index != origin]
        labels = ", ".join(names[index] for index in moved)
        origins = ", ".join(names[order[index]] for index in moved)
        notes.append(
            f"the bands look out of order: {labels} look like {origins}, in this order"
        )
    for index in implausible:
        factor = measured[index, 0] / expected[index, 0]
        note = (
            f"{names[index]}: the mean of the unit intensities is "
            f"{measured[index, 0]:.3g}, {factor:.3g} times the published "
            f"{expected[index, 0]:.3g}"
        )
        if not explains_all:
            note += "; it may be another band, or in another unit"
        notes.append(note)
    return notes


def _is_implausible(values: Floats, published: Floats) -> NDArray[np.bool_]:
    """Return which means are off by `MAX_FACTOR`, given decimal logarithms."""
    return np.asarray(abs(values[:, 0] - published[:, 0]) >= np.log10(MAX_FACTOR))


def _most_plausible_order(values: Floats, published: Floats) -> list[int]:
    """Return for each label the published band that its values look like.

    Only the orders that mistakes lead to are considered: a run of bands that is rotated
    (as when one band is moved), and two bands that are exchanged. Most bands are too
    similar for their statistics to tell arbitrary orders apart.
    """
    difference = values[:, None] - published[None]
    cost = (difference**2).sum(axis=2) + RENAMING_COST
    np.fill_diagonal(cost, cost.diagonal() - RENAMING_COST)
    rows = np.arange(len(values))
    return min(
        _likely_orders(len(values)), key=lambda order: float(cost[rows, order].sum())
    )


def _likely_orders(count: int) -> Iterator[list[int]]:
    """Yield the given order, those with a rotated run, and those with an exchange."""
    bands = list(range(count))
    yield bands
    for start, stop in combinations(range(count + 1), 2):
        run = bands[start:stop]
        for shift in range(1, len(run)):
            yield [*bands[:start], *run[shift:], *run[:shift], *bands[stop:]]
    for first, second in combinations(bands, 2):
        exchanged = bands.copy()
        exchanged[first], exchanged[second] = second, first
        yield exchanged
