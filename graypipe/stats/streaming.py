"""Statistics of wider and floating values: float64 moments of each part, merged in the order they come.

Moments merge as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
(1979): stable, but rounded, so another order of merging differs in the last digits. The same order gives the same bits.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from ..source import Pair
from . import sketches

Floats = NDArray[np.float64]


class Partials:
    """Count, mean and co-moments (sums of products of deviations) of the rows, extremes and sketches of the bands.

    The rows are the bands as stored and, with ``bounds``, (low, high) per band, once more as clipped; ``rows`` counts
    them.
    """

    def __init__(self, bands: int, bounds: Sequence[Pair]) -> None:
        self.rows = bands * (2 if bounds else 1)
        self.bounds = bounds
        self.count = 0
        self.mean: Floats = np.zeros(self.rows)
        self.comoment: Floats = np.zeros((self.rows, self.rows))
        self.least: Floats = np.full(bands, np.inf)
        self.greatest: Floats = np.full(bands, -np.inf)
        self.sketches = [sketches.empty() for _ in range(bands)]

    def add(self, blocks: Iterable[NDArray[Any]]) -> None:
        """Take in the pixels of ``blocks`` of (bands, pixels); RangeError where they are not finite."""
        for pixels in blocks:
            values = pixels.astype(np.float64, order="C")
            if not np.isfinite(values).all():
                raise RangeError(
                    "a value that is not finite (NaN or infinite) has no place in statistics: where NaN marks missing "
                    "pixels, declare nodata=float('nan') in the source; replace anything else first"
                )
            self.least = np.minimum(self.least, values.min(axis=1))
            self.greatest = np.maximum(self.greatest, values.max(axis=1))
            for sketch, plane in zip(self.sketches, values, strict=True):
                sketch.batch_update(plane)
            self._combine(values.shape[1], *_moments(_rows(values, self.bounds)))

    def merge(self, other: Self) -> None:
        """Add the statistics of ``other``, which come after these."""
        if not other.count:
            return
        self._combine(
            other.count, other.mean, other.comoment
        )  # first, since it may refuse
        self.least = np.minimum(self.least, other.least)
        self.greatest = np.maximum(self.greatest, other.greatest)
        for sketch, more in zip(self.sketches, other.sketches, strict=True):
            sketch.merge_inplace(more)

    def _combine(self, count: int, mean: Floats, comoment: Floats) -> None:
        total = self.count + count
        with np.errstate(over="ignore", invalid="ignore"):
            apart = mean - self.mean
            comoment = (
                self.comoment
                + comoment
                + np.outer(apart, apart) * (self.count * count / total)
            )
        if not np.isfinite(comoment).all():
            raise RangeError(
                "the squares of these values exceed float64: where one of them marks missing pixels, declare it as "
                "nodata= in the source"
            )
        self.count, self.mean, self.comoment = (
            total,
            self.mean + apart * (count / total),
            comoment,
        )

    def extremes(self) -> tuple[Floats, Floats]:
        """Return the least and the greatest value of each band."""
        return self.least, self.greatest

    def moments(self, clipped: bool = False) -> tuple[Floats, Floats]:
        """Return mean and covariance (divided by the count) of the stored or the clipped values."""
        bands = len(self.least)
        rows = slice(bands, None) if clipped and self.bounds else slice(bands)
        return self.mean[rows].copy(), self.comoment[rows, rows] / self.count

    def percentile(self, q: float) -> Floats:
        """Return about the ``q``-th percentile of each band; `sketches` says how near it is."""
        estimates = [sketch.quantile(q / 100) for sketch in self.sketches]
        within: Floats = np.clip(estimates, self.least, self.greatest)
        return within

    def to_record(self) -> dict[str, Any]:
        """Return the statistics as plain lists and numbers."""
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "comoment": self.comoment.tolist(),
            "min": self.least.tolist(),
            "max": self.greatest.tolist(),
            "sketches": [sketch.to_dict() for sketch in self.sketches],
        }

    def load(self, record: dict[str, Any]) -> None:
        """Take over what `to_record` returned; ValueError where its parts contradict each other or the source."""
        count, *given = (
            record[name] for name in ("count", "mean", "comoment", "min", "max")
        )
        mean, comoment, least, greatest = held = [
            np.array(part, np.float64) for part in given
        ]
        known = [self.mean, self.comoment, self.least, self.greatest]
        if [part.shape for part in held] != [part.shape for part in known] or [
            p.tolist() for p in held
        ] != given:
            raise ValueError(
                "the statistics are not numbers, or not of the bands of the source"
            )
        if type(count) is not int or count <= 0:
            raise ValueError(f"the count {count!r} is none")
        low, high = (
            _rows(ends[:, None], self.bounds)[:, 0] for ends in (least, greatest)
        )
        if (
            not ((low <= mean) & (mean <= high)).all()
            or not np.isfinite([least, greatest]).all()
        ):
            raise ValueError("the means do not lie between finite extremes")
        if (
            not np.isfinite(comoment).all()
            or (comoment != comoment.T).any()
            or np.diagonal(comoment).min() < 0
        ):
            raise ValueError(
                "the co-moments are not finite and symmetric, or a variance is negative"
            )
        self.sketches = [
            sketches.load(part, count)
            for _, part in zip(least, record["sketches"], strict=True)
        ]
        self.count, self.mean, self.comoment, self.least, self.greatest = (
            count,
            mean,
            comoment,
            least,
            greatest,
        )


def _rows(values: Floats, bounds: Sequence[Pair]) -> Floats:
    if not bounds:
        return values
    low, high = (np.array(ends)[:, None] for ends in zip(*bounds, strict=True))
    return np.concatenate([values, np.clip(values, low, high)])


def _moments(rows: Floats) -> tuple[Floats, Floats]:
    """Return mean and co-moments of (rows, values).

    Deviations are taken from the first value before the mean, so those of a constant row are exactly 0. Sums are
    pairwise and in one order: a matrix product would depend on the number of threads of the BLAS.
    """
    count, size = rows.shape
    with np.errstate(over="ignore", invalid="ignore"):
        apart = rows - rows[:, :1]
        mean = apart.sum(axis=1) / size
        apart -= mean[:, None]
        comoment = np.empty((count, count))
        for i in range(count):
            for j in range(i + 1):
                comoment[i, j] = comoment[j, i] = (apart[i] * apart[j]).sum()
        return rows[:, 0] + mean, comoment
