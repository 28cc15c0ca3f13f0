"""`BandStats`: what the bands of a data set are like, gathered image by image."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import bands as names
from .. import engine, layouts, serialization
from ..channel_map import Bands, ChannelMap
from ..errors import ChannelError, DTypeError, RangeError
from ..source import Pair, Source
from ..target import Target
from ..validation import finite, is_sequence
from . import pca, pixels, tallies, units
from .tallies import Tally

Floats = NDArray[np.float64]


class BandStats:
    """Statistics of the images of ``source`` (a Source or band names), each looked at once, pixels of nodata left out.

    All images have one dtype, that of the first. Integers of up to 16 bits are counted exactly: parts merged in any
    order are equal. Others are summed up in float64 as they come, `update` and `merge` alike: ``merge`` of one image's
    statistics equals ``update`` with that image, bit for bit. They need the extra ``io``.

    Per band, in stored units before any clipping, as float64 arrays in the order of ``source.bands``: ``mean``, ``std``
    and ``covariance`` (divided by the count, like `numpy.std`), ``min``, ``max``, `percentile`. What looks at unit
    intensities, `normalization` and `pca`, clips where the source does, as a plan would. Without a single pixel of data
    each of them is a RangeError. Statistics are picklable, and equal after a JSON round trip.
    """

    def __init__(self, source: Source | Bands) -> None:
        self.source = source if isinstance(source, Source) else Source(source)
        self.dtype: str | None = None
        self._tally: Tally | None = None  # from the first image on

    def update(self, image: NDArray[Any]) -> None:
        """Add the pixels of ``image``, an array of the source's layout and bands.

        LayoutError or ChannelError for another shape, DTypeError for another dtype, RangeError where the dtype cannot
        hold what the source declares and for values that are not finite; nothing is added then.
        """
        image = engine.check_image(image)
        layouts.check_shape(image.shape, self.source.layout, len(self.source.bands))
        dtype = self._check_dtype(engine.element_type(image.dtype).name)
        part = tallies.nothing(self.source, dtype)
        part.add(pixels.blocks(image, self.source, part.rows))
        self._add(dtype, part)

    def merge(self, other: "BandStats") -> None:
        """Add the statistics ``other``, which stay as they are; ChannelError unless they are of an equal source."""
        if not isinstance(other, BandStats):
            raise DTypeError(
                f"expected other statistics, a gp.BandStats, got {type(other).__name__}"
            )
        if other.source != self.source:
            raise ChannelError(
                f"statistics of one source merge, expected those of {self.source}, got {other.source}"
            )
        if other.dtype is not None:
            self._add(self._check_dtype(other.dtype), other._tally)

    def _check_dtype(self, dtype: str) -> str:
        if self.dtype not in (None, dtype):
            raise DTypeError(
                f"the images so far are {self.dtype}, got {dtype}: gather the statistics of each dtype by themselves, "
                f"or convert the images"
            )
        # Stored values need no black and white: where none are declared, one bit stands in, which every dtype holds.
        needed = self.source._declares_range or self.source.clip
        (self.source if needed else replace(self.source, bits=1))._pairs(dtype)
        return dtype

    def _add(self, dtype: str, part: Any) -> None:
        tally = (
            tallies.nothing(self.source, dtype) if self._tally is None else self._tally
        )
        tally.merge(part)
        self.dtype, self._tally = dtype, tally

    @property
    def count(self) -> int:
        """The number of pixels that hold data."""
        return 0 if self._tally is None else self._tally.count

    @property
    def mean(self) -> Floats:
        """The mean of each band, (bands,)."""
        return self._seen().moments()[0]

    @property
    def covariance(self) -> Floats:
        """The covariance of the bands, divided by the count, (bands, bands)."""
        return self._seen().moments()[1]

    @property
    def std(self) -> Floats:
        """The standard deviation of each band, from the sum of squares divided by the count, (bands,)."""
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def min(self) -> Floats:
        """The least value of each band, (bands,)."""
        return self._seen().extremes()[0].copy()

    @property
    def max(self) -> Floats:
        """The greatest value of each band, (bands,)."""
        return self._seen().extremes()[1].copy()

    @property
    def constant(self) -> tuple[str, ...]:
        """The names of the bands that hold one and the same value everywhere."""
        least, greatest = self._seen().extremes()
        return self._named(least == greatest)

    def percentile(self, q: float | Sequence[float]) -> Floats:
        """Return the ``q``-th percentile (0 to 100) of each band: (bands,), for a sequence (len(q), bands).

        As `numpy.percentile` gives it for all pixels at once. Of values that are floating or wider than 16 bits it is
        an estimate (docs/fitting.md says how near), except at 0 and 100. RangeError for what is no percentile.
        """
        tally = self._seen()
        if is_sequence(q):
            return np.array([tally.percentile(_percent(part)) for part in q])  # type: ignore[union-attr]
        return tally.percentile(_percent(q))

    def window(self, low: float, high: float) -> Pair | tuple[Pair, ...]:
        """Return the percentiles ``low`` and ``high`` as the ``range`` of a Source: one pair, or one per band.

        Where the source's range is reversed, so is the window. RangeError for a band in which both are one value.
        """
        if not _percent(low) < _percent(high):
            raise RangeError(
                f"a window spans from a lower to a higher percentile, such as 2 and 98, got {low}, {high}"
            )
        return units.window(
            (low, high), self.percentile((low, high)), self.source, self.dtype
        )

    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (mean, std) of the unit intensities of each band, for a Target with range (0, 1).

        A plan from the source to ``gp.Target(bands, mean=mean, std=std)`` gives these images mean 0 and std 1 in every
        band. RangeError where black and white are open, and for a constant band, which has no std to divide by.
        """
        mean, covariance = units.moments(self._seen(), self.source, self.dtype)
        return tuple(mean.tolist()), tuple(np.sqrt(np.diagonal(covariance)).tolist())

    def pca(
        self, outputs: Bands = "RGB", like: Target | str = "imagenet"
    ) -> ChannelMap:
        """Return the map from unit intensities onto the first principal components, for ``via=``.

        Output i is the i-th component by variance: whitened, then given the mean and std that ``like`` (a preset, or a
        Target of range (0, 1)) has for that band. After the normalisation of ``like`` it has mean 0 and std 1. The
        largest loading of a component is positive, of equal ones that of the first band.
        ChannelError for more outputs than bands, and where ``like`` has no statistics for them; RangeError for constant
        bands, and where fewer components vary.
        """
        mean, covariance = units.moments(self._seen(), self.source, self.dtype)
        return pca.components(
            mean, covariance, inputs=self.source.bands, outputs=outputs, like=like
        )

    def _seen(self) -> Tally:
        if self._tally is None or not self.count:
            raise RangeError(
                "no pixel that holds data has been seen: update with an image first"
                + (
                    f"; every pixel so far is nodata ({self.source.nodata:g})"
                    if self._tally is not None
                    else ""
                )
            )
        return self._tally

    def _named(self, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(
            band
            for band, is_chosen in zip(self.source.bands, chosen, strict=True)
            if is_chosen
        )

    def to_json(self) -> str:
        """Return the statistics as canonical JSON; `from_json` gives equal ones back."""
        record: dict[str, Any] = {"source": serialization.to_record(self.source)}
        if self.dtype is not None:
            record["dtype"] = self.dtype
        if self.count:
            record["statistics"] = self._seen().to_record()
        return serialization.to_text(record)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the statistics that `to_json` wrote; ValueError where the text is something else."""
        record = serialization.from_text(text)
        if sorted(record) not in (
            ["source"],
            ["dtype", "source"],
            ["dtype", "source", "statistics"],
        ):
            raise ChannelError(
                f"expected source, dtype and statistics in the JSON, got {sorted(record)}"
            )
        stats = cls(serialization.from_record(Source, record["source"], "bands"))
        if "dtype" in record:
            dtype = stats._check_dtype(engine.element_type(record["dtype"]).name)
            tally = tallies.nothing(stats.source, dtype)
            if "statistics" in record:
                tallies.load(tally, record["statistics"])
            stats._add(dtype, tally)
        return stats

    def __eq__(self, other: object) -> bool:
        return (
            self.to_json() == other.to_json()
            if isinstance(other, BandStats)
            else NotImplemented
        )

    __hash__ = None  # type: ignore[assignment]  # statistics grow

    def __repr__(self) -> str:
        seen = (
            f", {self.dtype}, {self.count:,} pixels"
            if self.dtype
            else ", nothing seen yet"
        )
        flat = self.constant if self.count else ()
        return f"BandStats({names.show(self.source.bands)}{seen}{f', constant: {flat}' if flat else ''})"


def _percent(q: Any) -> float:
    number = finite(q, "a percentile")
    if not 0 <= number <= 100:
        raise RangeError(f"a percentile lies between 0 and 100, got {number:g}")
    return number
