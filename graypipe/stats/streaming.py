"""Statistics of floating-point values and of integers of more than 16 bits.

Means and co-moments are merged as in Chan, Golub and LeVeque, "Updating Formulae and a
Pairwise Algorithm for Computing Sample Variances" (1979), which is numerically stable.
Results are rounded, so the order of merging affects the last digits; the same order
gives identical bits.

Percentiles come from t-digests (Dunning and Ertl, "Computing Extremely Accurate
Quantiles Using t-Digests", 2019) of the library fastdigest. A t-digest approximates a
distribution by a bounded number of centroids, which are densest at both ends, and uses
no random numbers. Its error has no proven bound. In measurements on 0.4 to 4 million
values (normal, uniform, log-normal, bimodal, sorted, drifting and mostly constant),
split into 20 to 10,000 parts, the rank error was at most 0.002 of the number of pixels.
It was at most 0.0002 at percentiles 2 and 98, and 0.0001 at percentiles 0.1 and 99.9.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, RangeError
from ..extras import require_extra
from ..source import Pair

Floats = NDArray[np.float64]

# Up to this number, values are stored individually, and percentiles equal those of
# `numpy.percentile`. The measured errors above are for this number.
MAX_CENTROIDS = 1000


class StreamingAccumulator:
    """Mean, co-moments, extremes and t-digests of pixels, in float64.

    Parameters
    ----------
    bands : int
        The number of bands.
    bounds : sequence of (float, float)
        The lower and upper clip bound of each band, or empty if nothing is clipped.

    Attributes
    ----------
    rows : int
        The number of rows of the moments: the stored bands, followed by the clipped
        bands if there are bounds.
    count : int
        The number of pixels.
    mean : ndarray of float64, shape (rows,)
        Mean of each row.
    comoment : ndarray of float64, shape (rows, rows)
        Sums of products of deviations from the mean: the covariance times the count.
    minimum, maximum : ndarray of float64, shape (bands,)
        Extremes of the stored values of each band.
    digests : list of fastdigest.TDigest or None
        One t-digest for each band. None if fastdigest is not installed, or was not when
        a part of the pixels was added: then there are no percentiles.
    """

    def __init__(self, bands: int, bounds: Sequence[Pair]) -> None:
        self.rows = bands
        if bounds:
            self.rows += bands
        self.bounds = bounds
        self.count = 0
        self.mean: Floats = np.zeros(self.rows)
        self.comoment: Floats = np.zeros((self.rows, self.rows))
        self.minimum: Floats = np.full(bands, np.inf)
        self.maximum: Floats = np.full(bands, -np.inf)
        self.digests: list[Any] | None = None
        with suppress(MissingExtraError):
            digest_class = _digest_class()
            self.digests = [
                digest_class(max_centroids=MAX_CENTROIDS) for _ in range(bands)
            ]

    def add(self, blocks: Iterable[NDArray[Any]]) -> None:
        """Add the pixels of ``blocks``, arrays of shape (bands, pixels).

        Raises
        ------
        RangeError
            If a value is not finite, or its square overflows float64.
        """
        for pixels in blocks:
            values = pixels.astype(np.float64, order="C")
            if not np.isfinite(values).all():
                raise RangeError(
                    "cannot compute statistics of values that are not finite (NaN or "
                    "infinite): if NaN marks missing pixels, declare "
                    "nodata=float('nan') in the source; otherwise replace them first"
                )
            self.minimum = np.minimum(self.minimum, values.min(axis=1))
            self.maximum = np.maximum(self.maximum, values.max(axis=1))
            if self.digests is not None:
                for digest, plane in zip(self.digests, values, strict=True):
                    digest.batch_update(plane)
            mean, comoment = _block_moments(_append_clipped(values, self.bounds))
            self._merge_moments(values.shape[1], mean, comoment)

    def merge(self, other: Self) -> None:
        """Add the statistics of ``other``, whose pixels come after those seen so far.

        Parameters
        ----------
        other : StreamingAccumulator
            An accumulator with the same bands and bounds. It is not modified.

        Raises
        ------
        RangeError
            If the co-moments overflow float64.
        """
        if not other.count:
            return
        # Merge the moments first: this may raise, and then nothing else must have been
        # added.
        self._merge_moments(other.count, other.mean, other.comoment)
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        if self.digests is None or other.digests is None:
            # Digests of a part of the pixels would be percentiles of that part.
            self.digests = None
            return
        for digest, other_digest in zip(self.digests, other.digests, strict=True):
            digest.merge_inplace(other_digest)

    def _merge_moments(self, count: int, mean: Floats, comoment: Floats) -> None:
        """Merge the moments of ``count`` more pixels."""
        total = self.count + count
        # Overflow is detected below, by its result.
        with np.errstate(over="ignore", invalid="ignore"):
            delta = mean - self.mean
            between = np.outer(delta, delta) * (self.count * count / total)
            merged = self.comoment + comoment + between
        if not np.isfinite(merged).all():
            raise RangeError(
                "the squares of these values overflow float64: if one of the values "
                "marks missing pixels, declare it as nodata= in the source"
            )
        self.comoment = merged
        self.mean = self.mean + delta * (count / total)
        self.count = total

    def extremes(self) -> tuple[Floats, Floats]:
        """Return the minimum and the maximum of each band."""
        return self.minimum, self.maximum

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
        """
        bands = len(self.minimum)
        start = 0
        if clipped and self.bounds:
            start = bands
        rows = slice(start, start + bands)
        return self.mean[rows].copy(), self.comoment[rows, rows] / self.count

    def percentiles(self, q: Sequence[float]) -> Floats:
        """Return estimates of percentiles (0 to 100) of each band: (len(q), bands).

        Raises
        ------
        MissingExtraError
            If there are no digests.
        """
        if self.digests is None:
            raise MissingExtraError(
                "percentiles of floating-point values and of integers of more than 16 "
                "bits need fastdigest, which was not installed when the images were "
                'added: pip install "graypipe[io]", and add them again'
            )
        estimates = [
            [digest.quantile(number / 100) for digest in self.digests] for number in q
        ]
        # Estimates may lie outside the extremes, which are exact.
        clipped: Floats = np.clip(estimates, self.minimum, self.maximum)
        return clipped

    def to_record(self) -> dict[str, Any]:
        """Return the state as lists and numbers, for JSON."""
        sketches = None
        if self.digests is not None:
            sketches = [digest.to_dict() for digest in self.digests]
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "comoment": self.comoment.tolist(),
            "min": self.minimum.tolist(),
            "max": self.maximum.tolist(),
            "sketches": sketches,
        }

    def load(self, record: dict[str, Any]) -> None:
        """Load the state that `to_record` returned into an empty accumulator.

        Parameters
        ----------
        record : dict
            The decoded JSON. Its contents are not trusted.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the record is malformed, or its parts contradict each other.
        MissingExtraError
            If the record contains digests, and fastdigest is not installed.
        """
        count = record["count"]
        # True and 5.0 compare equal to integers, so check the type.
        if type(count) is not int or count <= 0:
            raise ValueError(f"count must be a positive integer, got {count!r}")
        mean = _load_array(record, "mean", self.mean.shape)
        comoment = _load_array(record, "comoment", self.comoment.shape)
        minimum = _load_array(record, "min", self.minimum.shape)
        maximum = _load_array(record, "max", self.maximum.shape)
        if not np.isfinite([minimum, maximum]).all():
            raise ValueError("min and max must be finite")
        low = _append_clipped(minimum[:, None], self.bounds)[:, 0]
        high = _append_clipped(maximum[:, None], self.bounds)[:, 0]
        if not ((low <= mean) & (mean <= high)).all():
            raise ValueError("mean must lie between min and max")
        if not np.isfinite(comoment).all() or (comoment != comoment.T).any():
            raise ValueError("comoment must be finite and symmetric")
        if np.diagonal(comoment).min() < 0:
            raise ValueError("comoment must not have negative variances")
        self.digests = None
        if record["sketches"] is not None:
            self.digests = [
                _load_digest(digest, count)
                for _, digest in zip(minimum, record["sketches"], strict=True)
            ]
        self.count = count
        self.mean = mean
        self.comoment = comoment
        self.minimum = minimum
        self.maximum = maximum


def _append_clipped(values: Floats, bounds: Sequence[Pair]) -> Floats:
    """Return ``values``, followed by the clipped values if there are bounds.

    ``values`` has shape (bands, pixels), the result has shape (rows, pixels).
    """
    if not bounds:
        return values
    low, high = np.array(bounds).T[:, :, None]
    return np.concatenate([values, np.clip(values, low, high)])


def _block_moments(rows: Floats) -> tuple[Floats, Floats]:
    """Return the mean and the co-moments of rows of values.

    Sums are pairwise and in a fixed order. A matrix product would depend on the number
    of threads of the BLAS library.
    """
    row_count, pixel_count = rows.shape
    # Overflow is detected by the caller, when the moments are merged.
    with np.errstate(over="ignore", invalid="ignore"):
        # Subtract the first value before the mean, so that the deviations of a constant
        # row are exactly 0.
        deviations = rows - rows[:, :1]
        mean = deviations.sum(axis=1) / pixel_count
        deviations -= mean[:, None]
        comoment = np.empty((row_count, row_count))
        for i in range(row_count):
            for j in range(i + 1):
                total = (deviations[i] * deviations[j]).sum()
                comoment[i, j] = total
                comoment[j, i] = total
        return rows[:, 0] + mean, comoment


def _load_array(record: dict[str, Any], name: str, shape: tuple[int, ...]) -> Floats:
    """Return a field of a record as an array, or raise ValueError."""
    array = np.array(record[name], np.float64)
    # NumPy converts text and None silently, so compare the result with the record.
    if array.shape != shape or array.tolist() != record[name]:
        raise ValueError(f"{name} must be an array of numbers of shape {shape}")
    return array


def _load_digest(record: dict[str, Any], count: int) -> Any:
    """Return a t-digest of ``count`` values from its record, or raise ValueError."""
    centroids = record["centroids"]
    weights = [centroid["c"] for centroid in centroids]
    sums_match = sum(weights) == count and record["n_values"] == count
    if not sums_match or min(weights) <= 0:
        raise ValueError(f"a sketch must have positive weights that sum to {count}")
    if not all(isfinite(centroid["m"]) for centroid in centroids):
        raise ValueError("a sketch must contain finite values only")
    return _digest_class().from_dict(record)


def _digest_class() -> Any:
    """Return the class of t-digests, or raise MissingExtraError."""
    with require_extra("io", "fastdigest"):
        from fastdigest import TDigest
    return TDigest
