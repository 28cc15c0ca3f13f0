"""Exact statistics of integers of up to 16 bits: how often each level occurs, and sums of products as Python integers.

Whole numbers add up to the same in any order, so parts merge in any order to the same counts, bit for bit.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..engine import limits
from ..errors import RangeError
from ..source import Pair

MOST_PIXELS = 2**63 - 1


class Counts:
    """Histograms (bands, levels) and the matrix of products of the rows that `_rows` makes of the pixels.

    The first of the rows is constant one, so the first row of ``products`` holds the count and the sums. ``bounds``
    holds (low, high) per band where the source clips, else nothing; ``rows`` is how many numbers a pixel becomes.
    """

    def __init__(self, bands: int, bounds: Sequence[Pair], dtype: str) -> None:
        low, high = limits(np.dtype(dtype))
        self.rows = 1 + bands * (4 if bounds else 1)
        self.low = low
        self.bounds = bounds
        self.histograms = np.zeros((bands, high - low + 1), np.int64)
        self.products: NDArray[Any] = np.zeros((self.rows, self.rows), object)

    def add(self, blocks: Iterable[NDArray[Any]]) -> None:
        """Count the pixels in ``blocks`` of (bands, pixels)."""
        for pixels in blocks:
            rows = _rows(pixels, self.bounds)
            # A block sums fewer than 2^20 products of 16-bit numbers: whole numbers below 2^53, exact in any order.
            self.products += (rows @ rows.T).astype(
                np.int64
            )  # they become Python integers here
            levels = self.histograms.shape[1]
            self.histograms += [
                np.bincount(plane.astype(np.intp) - self.low, minlength=levels)
                for plane in pixels
            ]

    def merge(self, other: Self) -> None:
        """Add the counts of ``other``."""
        if self.count + other.count > MOST_PIXELS:
            raise RangeError(
                f"counts of {self.count} and {other.count} pixels exceed 64 bits: keep them apart"
            )
        self.products = self.products + other.products
        self.histograms += other.histograms

    @property
    def count(self) -> int:
        """The number of pixels."""
        return int(self.products[0, 0])

    def extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest value of each band."""
        ends = [
            np.flatnonzero(histogram)[[0, -1]] + self.low
            for histogram in self.histograms
        ]
        least, greatest = np.array(ends, np.float64).T
        return least, greatest

    def moments(
        self, clipped: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and covariance (divided by the count) of the stored or the clipped values, each rounded once."""
        weights = self._weights(clipped and bool(self.bounds))
        sums = weights @ self.products[0]
        squares = weights @ self.products @ weights.T
        covariance = (squares * self.count - np.outer(sums, sums)) / self.count**2
        return (sums / self.count).astype(np.float64), covariance.astype(np.float64)

    def _weights(self, clipped: bool) -> NDArray[Any]:
        """Return how the stored or clipped values are summed from the rows: a clipped one is itself, low or high."""
        bands = len(self.histograms)
        weights = np.zeros((bands, len(self.products)), object)
        for band in range(bands):
            if clipped:
                low, high = self.bounds[band]
                weights[band, 1 + bands + band :: bands] = (
                    1,
                    Fraction(low),
                    Fraction(high),
                )
            else:
                weights[band, 1 + band] = 1
        return weights

    def percentile(self, q: float) -> NDArray[np.float64]:
        """Return the ``q``-th percentile of each band, as `numpy.percentile` defines it: between neighbours, linear."""
        whole, part = divmod(Fraction(q) / 100 * (self.count - 1), 1)
        found = []
        for histogram in self.histograms:
            ends = np.searchsorted(
                np.cumsum(histogram),
                [whole, min(whole + 1, self.count - 1)],
                side="right",
            )
            lower, upper = (int(end) + self.low for end in ends)
            found.append(float(lower + (upper - lower) * part))
        return np.array(found)

    def to_record(self) -> dict[str, Any]:
        """Return the products, and the runs of levels that occur: per band [first level, count, count, ...]."""
        return {
            "products": self.products.tolist(),
            "runs": [self._runs(histogram) for histogram in self.histograms],
        }

    def _runs(self, histogram: NDArray[np.int64]) -> list[list[int]]:
        levels = np.flatnonzero(histogram)
        runs = np.split(levels, np.flatnonzero(np.diff(levels) > 1) + 1)
        return [[int(run[0]) + self.low, *histogram[run].tolist()] for run in runs]

    def load(self, record: dict[str, Any]) -> None:
        """Take over what `to_record` returned; ValueError where the parts contradict each other."""
        products = np.array(record["products"], object)
        if products.shape != self.products.shape or {
            type(number) for number in products.flat
        } != {int}:
            raise ValueError(
                "the products are not whole, or not of the bands of the source"
            )
        for histogram, runs in zip(self.histograms, record["runs"], strict=True):
            for first, *counts in runs:
                histogram[first - self.low : first - self.low + len(counts)] = counts
        if self.histograms.min() < 0 or record["runs"] != [
            self._runs(histogram) for histogram in self.histograms
        ]:
            raise ValueError(
                "the runs hold levels that the dtype has not, or counts that are none"
            )
        if (
            products[0, 0] > MOST_PIXELS
            or (products != products.T).any()
            or not self._agree(products)
        ):
            raise ValueError(
                "the products are not those of the pixels that the histograms count"
            )
        self.products = products

    def _agree(self, products: NDArray[Any]) -> bool:
        """Whether ``products`` are, within each band, what its histogram adds up to."""
        bands = len(self.histograms)
        for band, histogram in enumerate(self.histograms):
            levels = np.flatnonzero(histogram)
            rows = (
                _rows(levels[None] + self.low, self.bounds[band : band + 1])
                .astype(np.int64)
                .astype(object)
            )
            own = [0, *range(1 + band, self.rows, bands)]
            if (
                products[np.ix_(own, own)]
                != (rows * histogram[levels].astype(object)) @ rows.T
            ).any():
                return False
        return True


def _rows(pixels: NDArray[Any], bounds: Sequence[Pair]) -> NDArray[np.float64]:
    """Return (rows, pixels) of whole numbers: one, each band, and with bounds the parts of each clipped band.

    A bound need not be whole, so a clipped band is kept as three rows that are: its values within the bounds, else 0;
    whether it is below; whether it is above.
    """
    values = pixels.astype(np.float64)
    rows: list[NDArray[Any]] = [np.ones((1, values.shape[1])), values]
    if bounds:
        low, high = (np.array(ends)[:, None] for ends in zip(*bounds, strict=True))
        below, above = values < low, values > high
        rows += [np.where(below | above, 0, values), below, above]
    return np.concatenate(rows)
