"""Exact statistics of booleans and of integers of up to 16 bits.

A histogram of each band yields extremes and percentiles; a matrix of sums of products,
in Python integers, yields mean and covariance. Integer sums do not depend on the order
of their terms, so merging the same parts in any order gives identical statistics.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..engine import limits
from ..errors import RangeError
from ..source import Pair

Floats = NDArray[np.float64]

# Up to this number of bands, einsum is about as fast as the BLAS library. It starts no
# threads, for which there is no processor if each worker process has its own.
MOST_BANDS_WITHOUT_BLAS = 4

# The histograms count in int64.
MAX_PIXELS = 2**63 - 1


class ExactAccumulator:
    """Histograms and sums of products of integer pixels.

    Parameters
    ----------
    bands : int
        The number of bands.
    bounds : sequence of (float, float)
        The lower and upper clip bound of each band, or empty if nothing is clipped.
    dtype : str
        The name of a boolean or integer dtype of up to 16 bits.

    Attributes
    ----------
    rows : int
        Number of rows that `_expand_pixels` returns, that is, of values per pixel.
    lowest_level : int
        The minimum of the dtype.
    bounds : sequence of (float, float)
        The argument of that name.
    count : int
        The number of pixels.
    histograms : ndarray of int64, shape (bands, levels)
        Number of pixels at each level, starting with the lowest level of the dtype.
    """

    def __init__(self, bands: int, bounds: Sequence[Pair], dtype: str) -> None:
        lowest, highest = limits(np.dtype(dtype))
        # The constant row, one row per band, and three more for each clipped band.
        self.rows = 1 + bands
        if bounds:
            self.rows += 3 * bands
        self.lowest_level = lowest
        self.bounds = bounds
        self.count = 0
        self.histograms = np.zeros((bands, highest - lowest + 1), np.int64)
        # Only used with several bands, see `products`.
        self._products: NDArray[Any] = np.zeros((self.rows, self.rows), object)

    def add(self, blocks: Iterable[NDArray[Any]]) -> None:
        """Count the pixels of ``blocks``, arrays of shape (bands, pixels)."""
        for pixels in blocks:
            for plane, histogram in zip(pixels, self.histograms, strict=True):
                self._count_levels(plane, histogram)
            self.count += pixels.shape[1]
            if len(pixels) > 1:
                self._products += self._multiply(pixels)

    def _multiply(self, pixels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the products of a block of pixels of several bands."""
        # A block has fewer than 2**20 pixels of at most 16 bits, so all sums stay
        # below 2**53, where float64 is exact in any order of summation. Adding int64
        # to an array of objects yields Python integers, which never overflow.
        if self.bounds:
            rows = _expand_pixels(pixels, self.bounds)
            products = rows @ rows.T
        else:
            products = _multiply_bands(pixels)
        return products.astype(np.int64)

    def _count_levels(self, plane: NDArray[Any], histogram: NDArray[np.int64]) -> None:
        """Add the pixels of one band to its histogram."""
        if plane.dtype == np.uint8:
            from PIL import Image

            # Half the time of `numpy.bincount`.
            histogram += Image.fromarray(plane[None]).histogram()
            return
        indices = plane
        if self.lowest_level or plane.dtype == np.bool_:
            indices = plane.astype(np.intp) - self.lowest_level
        # Unlike `numpy.bincount`, this allocates no array of all levels, which takes
        # longer to allocate than to fill.
        np.add.at(histogram, indices, 1)

    def merge(self, other: Self) -> None:
        """Add the counts of ``other``.

        Parameters
        ----------
        other : ExactAccumulator
            An accumulator with the same bands, bounds and dtype. It is not modified.

        Raises
        ------
        RangeError
            If the number of pixels exceeds int64.
        """
        if self.count + other.count > MAX_PIXELS:
            raise RangeError(
                f"{self.count} and {other.count} pixels would overflow the 64-bit "
                "counters: keep these statistics separate"
            )
        self.count += other.count
        self._products = self._products + other._products
        self.histograms += other.histograms

    @property
    def products(self) -> NDArray[Any]:
        """The products of each pair of rows, summed over all pixels.

        An array of Python integers of shape (rows, rows). The first row is constant 1,
        so ``products[0]`` contains the number of pixels and the sums of the other rows.
        """
        # The levels of a single band take a fraction of the time of its pixels.
        if len(self.histograms) == 1:
            return self._band_products(0)
        return self._products

    def _band_products(self, band: int) -> NDArray[Any]:
        """Return the products of the rows of one band, which follow from its histogram.

        The rows are those of `_expand_pixels` for a single band.
        """
        histogram = self.histograms[band]
        levels = np.flatnonzero(histogram)
        # Compute with Python integers: the products may exceed 64 bits.
        counts = histogram[levels].astype(object)
        band_bounds = self.bounds[band : band + 1]
        rows = _expand_pixels(levels[None] + self.lowest_level, band_bounds)
        rows = rows.astype(np.int64).astype(object)
        products: NDArray[Any] = (rows * counts) @ rows.T
        return products

    def extremes(self) -> tuple[Floats, Floats]:
        """Return the minimum and the maximum of each band."""
        minimum = np.empty(len(self.histograms))
        maximum = np.empty(len(self.histograms))
        for band, histogram in enumerate(self.histograms):
            levels = np.flatnonzero(histogram) + self.lowest_level
            minimum[band] = levels[0]
            maximum[band] = levels[-1]
        return minimum, maximum

    def moments(self, clipped: bool = False) -> tuple[Floats, Floats]:
        """Return the mean and the covariance of the bands.

        Parameters
        ----------
        clipped : bool, default False
            Whether to describe the clipped values instead of the stored ones, if there
            are bounds.

        Returns
        -------
        mean : ndarray of float64, shape (bands,)
        covariance : ndarray of float64, shape (bands, bands)
            Population covariance, as `numpy.cov` with ``ddof=0``.

        Notes
        -----
        The arithmetic is exact; each result is rounded once.
        """
        weights = self._row_weights(clipped and bool(self.bounds))
        products = self.products
        sums = weights @ products[0]
        squares = weights @ products @ weights.T
        covariance = (squares * self.count - np.outer(sums, sums)) / self.count**2
        return (sums / self.count).astype(np.float64), covariance.astype(np.float64)

    def _row_weights(self, clipped: bool) -> NDArray[Any]:
        """Return exact weights of shape (bands, rows).

        The values of each band are the sum of the rows, multiplied by these weights.
        """
        bands = len(self.histograms)
        weights = np.zeros((bands, self.rows), object)
        for band in range(bands):
            if clipped:
                # See `_expand_pixels` for the order of the rows.
                inside = 1 + bands + band
                below = inside + bands
                above = below + bands
                low, high = self.bounds[band]
                weights[band, inside] = 1
                weights[band, below] = Fraction(low)
                weights[band, above] = Fraction(high)
            else:
                weights[band, 1 + band] = 1
        return weights

    def percentiles(self, q: Sequence[float]) -> Floats:
        """Return percentiles (0 to 100) of each band: shape (len(q), bands).

        The definition is the default one of `numpy.percentile`: linear interpolation
        between the two nearest pixels in sorted order.
        """
        percentiles = np.empty((len(q), len(self.histograms)))
        for band, histogram in enumerate(self.histograms):
            cumulative_counts = np.cumsum(histogram)
            for index, number in enumerate(q):
                percentiles[index, band] = self._percentile(cumulative_counts, number)
        return percentiles

    def _percentile(self, cumulative_counts: NDArray[np.int64], q: float) -> float:
        """Return a percentile of a band, given the cumulative counts of its levels."""
        rank = Fraction(q) / 100 * (self.count - 1)
        lower_rank, fraction = divmod(rank, 1)
        upper_rank = min(lower_rank + 1, self.count - 1)
        # The level of the pixel at rank r is the first one whose cumulative count
        # exceeds r.
        indices = np.searchsorted(
            cumulative_counts, [lower_rank, upper_rank], side="right"
        )
        lower = int(indices[0]) + self.lowest_level
        upper = int(indices[1]) + self.lowest_level
        return float(lower + (upper - lower) * fraction)

    def to_record(self) -> dict[str, Any]:
        """Return the state as lists of integers, for JSON.

        Returns
        -------
        dict
            ``products``, and ``runs``: for each band, one list per run of consecutive
            levels that occur, with the first level followed by the count of each level.
        """
        return {
            "products": self.products.tolist(),
            "runs": [self._to_runs(histogram) for histogram in self.histograms],
        }

    def _to_runs(self, histogram: NDArray[np.int64]) -> list[list[int]]:
        """Return the runs of a histogram, each as [first level, count, count, ...]."""
        levels = np.flatnonzero(histogram)
        gaps = np.flatnonzero(np.diff(levels) > 1) + 1
        runs = []
        for run in np.split(levels, gaps):
            first_level = int(run[0]) + self.lowest_level
            runs.append([first_level, *histogram[run].tolist()])
        return runs

    def load(self, record: dict[str, Any]) -> None:
        """Load the state that `to_record` returned into an empty accumulator.

        Parameters
        ----------
        record : dict
            The decoded JSON. Its contents are not trusted.

        Raises
        ------
        IndexError, KeyError, OverflowError, TypeError, ValueError
            If the record is malformed, or its parts contradict each other.
        """
        products = np.array(record["products"], object)
        types = {type(number) for number in products.flat}
        if products.shape != self._products.shape or types != {int}:
            raise ValueError(
                f"products must be a matrix of integers of shape {self._products.shape}"
            )
        for histogram, runs in zip(self.histograms, record["runs"], strict=True):
            for first_level, *counts in runs:
                start = first_level - self.lowest_level
                histogram[start : start + len(counts)] = counts
        # Levels outside the dtype and fractional counts are lost in the assignment
        # above, so a record that contains them differs from the runs of the histograms.
        runs = [self._to_runs(histogram) for histogram in self.histograms]
        if self.histograms.min() < 0 or record["runs"] != runs:
            raise ValueError(
                "runs must contain levels within the dtype and positive counts, in "
                "canonical form"
            )
        if products[0, 0] > MAX_PIXELS:
            raise ValueError(f"products must count at most {MAX_PIXELS} pixels")
        symmetric = (products == products.T).all()
        if not symmetric or not self._products_match_histograms(products):
            raise ValueError("products must be consistent with runs")
        self.count = products[0, 0]
        self._products = products

    def _products_match_histograms(self, products: NDArray[Any]) -> bool:
        """Return whether the products within each band follow from its histogram."""
        bands = len(self.histograms)
        for band in range(bands):
            indices = [0, *range(1 + band, self.rows, bands)]
            if (products[np.ix_(indices, indices)] != self._band_products(band)).any():
                return False
        return True


def _multiply_bands(pixels: NDArray[Any]) -> Floats:
    """Return the products of the rows of `_expand_pixels` without bounds.

    Faster than a product of matrices with a row of ones.
    """
    bands, count = pixels.shape
    values = pixels.astype(np.float64)
    products = np.empty((1 + bands, 1 + bands))
    products[0, 0] = count
    products[0, 1:] = products[1:, 0] = values.sum(axis=1)
    if bands <= MOST_BANDS_WITHOUT_BLAS:
        products[1:, 1:] = np.einsum("ij,kj->ik", values, values)
    else:
        products[1:, 1:] = values @ values.T
    return products


def _expand_pixels(pixels: NDArray[Any], bounds: Sequence[Pair]) -> Floats:
    """Return integer rows whose linear combinations are the stored and clipped values.

    Bounds need not be integers, so a clipped band is split into three integer rows:
    the clipped value is ``inside + low * below + high * above``.

    Parameters
    ----------
    pixels : ndarray of shape (bands, pixels)
        Stored values.
    bounds : sequence of (float, float)
        The clip bounds of each band, or empty if nothing is clipped.

    Returns
    -------
    ndarray of float64, shape (rows, pixels)
        A row of ones and the stored bands. With bounds, followed by: the bands with
        values outside the bounds set to 0, an indicator of values below the bounds for
        each band, and an indicator of values above the bounds for each band.
    """
    values = pixels.astype(np.float64)
    rows: list[NDArray[Any]] = [np.ones((1, values.shape[1])), values]
    if bounds:
        low, high = np.array(bounds).T[:, :, None]
        below = values < low
        above = values > high
        rows += [np.where(below | above, 0, values), below, above]
    return np.concatenate(rows)
