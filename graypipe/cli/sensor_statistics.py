"""Statistics over all files of ``graypipe inspect --sensor``."""

from argparse import ArgumentTypeError
from typing import Any

from numpy.typing import NDArray

from .. import BandStats, Source, layouts
from ..errors import GraypipeError
from ..sensor import Sensor
from ..sensor import sensor as sensor_facts
from ..stats.sensor_check import official_names, published_statistics


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

    Parameters
    ----------
    facts : Sensor
        A sensor with published statistics.
    """

    def __init__(self, facts: Sensor) -> None:
        self.facts = facts
        self.files = 0
        self._stats: BandStats | None = None

    def add(self, image: NDArray[Any], source: Source) -> list[str]:
        """Add an image; return a note if it cannot be compared."""
        try:
            names = official_names(source.bands, self.facts)
            if self._stats is None:
                self._stats = BandStats(Source(names, "CHW", nodata=self.facts.nodata))
            if names != self._stats.source.bands:
                return ["not compared with the sensor: other bands than earlier files"]
            planes = layouts.conversion(source.layout, "CHW").source_planes(image)
            self._stats.update(planes.reshape(len(planes), -1, 1))
        except GraypipeError as error:
            return [f"not compared with the sensor: {error}"]
        self.files += 1
        return []

    def notes(self) -> list[str]:
        """Return what is suspicious about all files together."""
        name = self.facts.name
        if self._stats is None or not self._stats.count:
            return [f"{name}: no file could be compared"]
        findings = self._stats.check(name)
        if not findings:
            return [
                f"{name}: the statistics are plausible (files: {self.files}, compared "
                f"with the preset {self.facts.statistics})"
            ]
        return [f"{name}: {finding}" for finding in findings]
