"""Statistics over all files of ``graypipe inspect --sensor``."""

from argparse import ArgumentTypeError
from collections import Counter
from typing import Any, Self

from numpy.typing import NDArray

from .. import BandStats, Source, layouts
from ..errors import ChannelError, GraypipeError
from ..sensor import Sensor
from ..sensor import sensor as sensor_facts
from ..stats.sensor_check import official_names, published_statistics
from .advice import likely_sensors


def parse_sensor(text: str) -> Sensor:
    """Return the sensor with this name, which must have published statistics."""
    try:
        facts = sensor_facts(text)
        published_statistics(facts)
    except GraypipeError as error:
        raise ArgumentTypeError(str(error)) from None
    return facts


class SensorStatistics:
    """Statistics of the files whose bands are those of a sensor.

    Files with other bands of the sensor, in another order or of another dtype have
    statistics of their own.

    Parameters
    ----------
    facts : Sensor
        A sensor with published statistics.
    """

    def __init__(self, facts: Sensor) -> None:
        self.facts = facts
        # By dtype and official names of the bands, in the order of the files: the
        # number of files and their statistics.
        self._groups: dict[tuple[str, ...], tuple[int, BandStats]] = {}
        # Other sensors to which files belong, with the number of files
        self._others: Counter[str] = Counter()

    def add(self, image: NDArray[Any], source: Source) -> list[str]:
        """Add an image; return a note if it cannot be compared."""
        siblings = self._siblings(image, source)
        self._others.update(siblings)
        try:
            names = official_names(source.bands, self.facts)
            stats = BandStats(Source(names, "CHW", nodata=self.facts.nodata))
            planes = layouts.conversion(source.layout, "CHW").source_planes(image)
            stats.update(planes.reshape(len(planes), -1, 1))
            self._add((image.dtype.name, *names), 1, stats)
        except GraypipeError as error:
            reason = str(error)
            if siblings:
                reason = f"the bands are those of {' or '.join(siblings)}"
            return [f"not compared with the sensor: {reason}"]
        return []

    def merge(self, other: Self) -> None:
        """Add the statistics of other files."""
        self._others += other._others
        for key, (files, stats) in other._groups.items():
            self._add(key, files, stats)

    def _add(self, key: tuple[str, ...], files: int, stats: BandStats) -> None:
        """Add the statistics of files with the same dtype and bands."""
        if key not in self._groups:
            self._groups[key] = (files, stats)
            return
        total, merged = self._groups[key]
        merged.merge(stats)
        self._groups[key] = (total + files, merged)

    def _siblings(self, image: NDArray[Any], source: Source) -> list[str]:
        """Return the other sensors from which an image must come, by its bands.

        Those with the same bands, such as other processing baselines of Sentinel-2, are
        left to `BandStats.check`.
        """
        bands = source.bands
        has_only_bands_of_sensor = set(bands) <= set(self.facts.bands)
        if has_only_bands_of_sensor and len(bands) == len(self.facts.bands):
            return []
        values = image
        if self.facts.nodata is not None:
            values = image[image != self.facts.nodata]
        # A few bands of the sensor may be a selection; all bands of another one are
        # hardly a coincidence.
        siblings = likely_sensors(
            bands, image.dtype.name, values, complete=has_only_bands_of_sensor
        )
        return [
            name for name in siblings if sensor_facts(name).bands != self.facts.bands
        ]

    def fits(self, bands: tuple[str, ...], dtype: str) -> bool:
        """Return whether images of this kind were compared, and are plausible."""
        try:
            names = official_names(bands, self.facts)
        except ChannelError:
            return False
        if (dtype, *names) not in self._groups:
            return False
        _, stats = self._groups[(dtype, *names)]
        return stats.count > 0 and not stats.check(self.facts.name)

    def notes(self) -> list[str]:
        """Return what is suspicious about all files together."""
        name = self.facts.name
        notes = []
        if self._others:
            fitting = [
                f"--sensor {other} (files: {count})"
                for other, count in self._others.items()
            ]
            notes.append(
                f"{name}: there are files with the bands of another product: "
                f"{' or '.join(fitting)}"
            )
        if not self._groups:
            return [*notes, f"{name}: no file could be compared"]
        for key, (files, stats) in self._groups.items():
            label = name
            if len(self._groups) > 1:
                label = f"{name} ({', '.join(key)})"
            notes += self._group_notes(label, files, stats)
        return notes

    def _group_notes(self, label: str, files: int, stats: BandStats) -> list[str]:
        """Return what is suspicious about files with the same bands."""
        if not stats.count:
            return [f"{label}: no file could be compared"]
        findings = stats.check(self.facts.name)
        if not findings:
            return [
                f"{label}: the statistics are plausible (files: {files}, compared "
                f"with the preset {self.facts.statistics})"
            ]
        return [f"{label}: {finding}" for finding in findings]
