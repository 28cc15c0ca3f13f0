"""`BandStats`: per-band statistics of a data set, accumulated image by image."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import engine, layouts, serialization
from ..bands import format_bands
from ..channel_map import Bands, ChannelMap
from ..engine import value_tests
from ..errors import ChannelError, DTypeError, GraypipeError, RangeError
from ..io.image_file import read_declared
from ..io.input_file import File, input_name, is_file
from ..source import Pair, Source
from ..target import Target
from ..validation import as_finite_float, is_ordered_iterable
from .accumulators import Accumulator, empty_accumulator, load_record, valid_blocks
from .pca import principal_components
from .sensor_check import sensor_notes

Floats = NDArray[np.float64]


class BandStats:
    """Statistics of the bands of a data set, computed in one pass.

    Each image is read once and not stored. Statistics of parts of a data set can be
    merged. Pixels that are nodata in any band are left out.

    ``mean``, ``std``, ``covariance``, ``min``, ``max`` and `percentile` describe stored
    values before clipping. `normalization` and `pca` describe the unit intensities that
    a plan computes from the stored values, clipped if the source clips. All of these
    raise `RangeError` until a valid pixel has been added.

    Parameters
    ----------
    source : Source, str or iterable of str
        Source of the images, or the names of its bands.

    Attributes
    ----------
    source : Source
        The source of all images.
    dtype : str or None
        The dtype of all images, None before the first one.

    Notes
    -----
    Booleans and integers of up to 16 bits are counted exactly, so that parts can be
    merged in any order with the same result. Other dtypes are summed in float64 in the
    order of the images. Percentiles of these dtypes come from a t-digest, which
    requires the extra ``io`` when the images are added. For these dtypes, merging the
    statistics of a single image gives bit for bit the same result as `update` with that
    image.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> stats = gp.BandStats("RG")
    >>> stats.update(np.array([[[0, 10], [100, 30]]], np.uint8))
    >>> stats.update(np.array([[[50, 20], [50, 20]]], np.uint8))
    >>> stats
    BandStats('RG', uint8, 4 pixels)
    >>> stats.mean
    array([50., 20.])
    """

    def __init__(self, source: Source | Bands) -> None:
        if not isinstance(source, Source):
            source = Source(source)
        self.source = source
        self.dtype: str | None = None
        # None before the first image, since the dtype decides the class.
        self._accumulator: Accumulator | None = None

    def update(
        self,
        image: NDArray[Any] | File,
        *,
        frame: int | str | None = None,
        alpha: str = "error",
        orientation: str = "error",
    ) -> None:
        """Add the pixels of an image.

        Parameters
        ----------
        image : ndarray, str, path-like, bytes or binary file object
            An image with the layout and the bands of the source, which is not modified;
            or a file that `graypipe.read` reads. A file must have the bands of the
            source, in any order of the axes, and may record a range or nodata only if
            the source declares one.
        frame, alpha, orientation
            As for `graypipe.read`, for a file.

        Raises
        ------
        ChannelError, LayoutError
            If the image does not have the bands or the axes of the source.
        DTypeError
            If ``image`` is neither a file nor an array of a supported dtype, or its
            dtype differs from the dtype of previous images. Also if ``frame``,
            ``alpha`` or ``orientation`` is given with an array.
        ReadError
            If a file cannot be read, or contradicts the source.
        MissingExtraError
            If a file needs the extra ``io`` or ``dicom``, and it is not installed.
        RangeError
            If the dtype cannot represent the range of the source, if a value is not
            finite, or if an earlier step has divided the values.

        Notes
        -----
        After an exception the statistics are unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats(gp.Source("gray", nodata=0))
        >>> stats.update(np.array([[0, 2], [4, 6]], np.uint8))
        >>> stats.count
        3

        A file needs no array:

        >>> import io
        >>> file = io.BytesIO()
        >>> np.save(file, np.array([[8]], np.uint8))
        >>> stats.update(file)
        >>> stats.count, stats.mean
        (4, array([5.]))
        """
        if is_file(image):
            pixels = read_declared(
                image,  # type: ignore[arg-type]  # is_file has checked it
                self.source,
                frame=frame,
                alpha=alpha,
                orientation=orientation,
            )
            try:
                self._update(pixels)
            except GraypipeError as error:
                raise type(error)(f"{input_name(image)}: {error}") from None
            return
        if (frame, alpha, orientation) != (None, "error", "error"):
            raise DTypeError(
                "frame=, alpha= and orientation= say how a file is read, but got "
                f"{type(image).__name__}: omit them, or pass the file"
            )
        self._update(image)

    def _update(self, image: Any) -> None:
        """Add the pixels of an array."""
        image = engine.check_image(image)
        layouts.check_shape(image.shape, self.source.layout, len(self.source.bands))
        dtype = self._check_dtype(engine.supported_dtype(image.dtype).name)
        self.source._check_not_divided(image)
        # A separate accumulator keeps these statistics unchanged if a pixel is refused,
        # and makes `update` the same computation as `merge`.
        addition = empty_accumulator(self.source, dtype)
        addition.add(valid_blocks(image, self.source, addition.rows))
        self._merge(dtype, addition)

    def merge(self, other: "BandStats") -> None:
        """Add the statistics of other images of the same source.

        Parameters
        ----------
        other : BandStats
            The statistics to add. They are not modified.

        Raises
        ------
        ChannelError
            If ``other`` has another source.
        DTypeError
            If ``other`` is not a `BandStats`, or describes images of another dtype.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> first, second = gp.BandStats("gray"), gp.BandStats("gray")
        >>> first.update(np.zeros((2, 3), np.uint8))
        >>> second.update(np.ones((2, 3), np.uint8))
        >>> first.merge(second)
        >>> first.count, first.mean
        (12, array([0.5]))
        """
        if not isinstance(other, BandStats):
            raise DTypeError(f"expected a gp.BandStats, got {type(other).__name__}")
        if other.source != self.source:
            raise ChannelError(
                f"expected statistics of the same source, {self.source}, got "
                f"{other.source}: merge statistics of equal sources only"
            )
        if other.dtype is not None:
            self._merge(self._check_dtype(other.dtype), other._accumulator)

    def _merge(self, dtype: str, addition: Any) -> None:
        """Merge an accumulator for ``dtype`` into the accumulator of these statistics.

        ``addition`` is not modified.
        """
        accumulator = self._accumulator
        if accumulator is None:
            # Do not keep ``addition`` itself: it may belong to other statistics.
            accumulator = empty_accumulator(self.source, dtype)
        # Equal dtypes imply the same class of accumulator.
        accumulator.merge(addition)
        # Set these last: `merge` may raise, and must then leave everything unchanged.
        self.dtype = dtype
        self._accumulator = accumulator

    def _check_dtype(self, dtype: str) -> str:
        """Return ``dtype``, or raise if images of that dtype cannot be added."""
        if self.dtype not in (None, dtype):
            raise DTypeError(
                f"all images so far are {self.dtype}, got {dtype}: use separate "
                "statistics for each dtype, or convert the images"
            )
        _check_representable(self.source, dtype)
        return dtype

    @property
    def count(self) -> int:
        """Number of valid pixels.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("RGB")
        >>> stats.count
        0
        >>> stats.update(np.zeros((4, 5, 3), np.uint8))
        >>> stats.count
        20
        """
        if self._accumulator is None:
            return 0
        return self._accumulator.count

    @property
    def mean(self) -> Floats:
        """Mean of each band in stored values: float64, shape (bands,).

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.array([[1, 2, 6]], np.uint8))
        >>> stats.mean
        array([3.])
        """
        mean, _ = self._valid_accumulator().moments()
        return mean

    @property
    def covariance(self) -> Floats:
        """Covariance of the bands in stored values: float64, shape (bands, bands).

        It is divided by the number of pixels, like ``numpy.cov(..., ddof=0)``.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("RG")
        >>> stats.update(np.array([[[0, 10], [2, 14]]], np.uint8))
        >>> stats.covariance
        array([[1., 2.],
               [2., 4.]])
        """
        _, covariance = self._valid_accumulator().moments()
        return covariance

    @property
    def std(self) -> Floats:
        """Standard deviation of each band in stored values: float64, shape (bands,).

        The variance is divided by the number of pixels, like that of `numpy.std`.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.array([[4, 8]], np.uint8))
        >>> stats.std
        array([2.])
        """
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def min(self) -> Floats:
        """Minimum of each band in stored values: float64, shape (bands,).

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.array([[4, 8]], np.uint8))
        >>> stats.min
        array([4.])
        """
        # A copy, because an accumulator returns its own array.
        minimum, _ = self._valid_accumulator().extremes()
        return minimum.copy()

    @property
    def max(self) -> Floats:
        """Maximum of each band in stored values: float64, shape (bands,).

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.array([[4, 8]], np.uint8))
        >>> stats.max
        array([8.])
        """
        # A copy, because an accumulator returns its own array.
        _, maximum = self._valid_accumulator().extremes()
        return maximum.copy()

    @property
    def constant(self) -> tuple[str, ...]:
        """Names of the bands that have the same value in all pixels.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("RG")
        >>> stats.update(np.array([[[0, 7], [2, 7]]], np.uint8))
        >>> stats.constant
        ('G',)
        """
        minimum, maximum = self._valid_accumulator().extremes()
        return self._select_names(minimum == maximum)

    def percentile(self, q: float | Sequence[float]) -> Floats:
        """Return percentiles of each band in stored values.

        Parameters
        ----------
        q : float or sequence of float
            One or several percentiles, from 0 to 100.

        Returns
        -------
        ndarray of float64, shape (bands,) or (len(q), bands)
            For booleans and integers of up to 16 bits, the result of
            `numpy.percentile` on all pixels at once. For other dtypes an estimate,
            except at 0 and 100; docs/fitting.md states its accuracy.

        Raises
        ------
        RangeError
            If a percentile is not between 0 and 100.
        MissingExtraError
            If the dtype is neither boolean nor an integer of up to 16 bits, and the
            extra ``io`` was not installed when the images were added.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.arange(101, dtype=np.uint8).reshape(1, 101))
        >>> stats.percentile(50)
        array([50.])
        >>> stats.percentile([2, 98])
        array([[ 2.],
               [98.]])
        """
        accumulator = self._valid_accumulator()
        if not is_ordered_iterable(q):
            percentiles: Floats = accumulator.percentiles([_check_percentile(q)])[0]
            return percentiles
        return accumulator.percentiles([_check_percentile(part) for part in q])  # type: ignore[union-attr]

    def window(self, low: float, high: float) -> Pair | tuple[Pair, ...]:
        """Return two percentiles as the range of a source.

        Parameters
        ----------
        low, high : float
            The percentiles that become black and white, such as 2 and 98.

        Returns
        -------
        tuple of float, or tuple of such tuples
            (black, white) in stored values, for ``Source(range=...)``: one pair if
            there is one band, otherwise one pair per band. Pairs are reversed for bands
            whose range is reversed in the source.

        Raises
        ------
        RangeError
            If ``low`` is not less than ``high``, or both percentiles of a band have the
            same value.
        MissingExtraError
            As for `percentile`.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.arange(101, dtype=np.uint8).reshape(1, 101))
        >>> stats.window(2, 98)
        (2.0, 98.0)
        >>> source = gp.Source("gray", range=stats.window(2, 98), clip=True)
        """
        if not _check_percentile(low) < _check_percentile(high):
            raise RangeError(
                "expected a lower and a higher percentile, such as 2 and 98, got "
                f"{low}, {high}"
            )
        black, white = self.percentile((low, high))
        # A source refuses a range whose black and white are equal.
        flat_names = self._describe_bands(black == white)
        if flat_names:
            raise RangeError(
                f"percentiles {low:g} and {high:g} have the same value in "
                f"{flat_names}: use percentiles further apart, or declare the range of "
                "a constant band explicitly"
            )
        pairs = list(zip(black.tolist(), white.tolist(), strict=True))
        if self.source._declares_range:
            declared = self.source._pairs(self.dtype)
            for band, (declared_black, declared_white) in enumerate(declared):
                if declared_black > declared_white:
                    pairs[band] = pairs[band][::-1]
        if len(pairs) == 1:
            return pairs[0]
        return tuple(pairs)

    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and the standard deviation of the unit intensities.

        A plan from the source to ``gp.Target(bands, mean=mean, std=std)`` gives the
        images of this data set mean 0 and standard deviation 1 in each band. For a
        target with range (0, 255), multiply the mean by 255, and the std too for a
        standard deviation of 1.

        Returns
        -------
        mean, std : tuple of float
            One number per band, for a target with range (0, 1): 0 is black, 1 is white.

        Raises
        ------
        RangeError
            If the source does not declare or imply a range, if floating-point values
            are outside the implied range, or if a band is constant.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats(gp.Source("gray", range=(0, 100)))
        >>> stats.update(np.array([[40, 60]], np.uint8))
        >>> mean, std = stats.normalization()
        >>> mean, std
        ((0.5,), (0.1,))
        >>> plan = gp.plan(stats.source, gp.Target("gray", "HW", mean=mean, std=std))
        """
        mean, covariance = self._unit_moments()
        std = np.sqrt(np.diagonal(covariance))
        return tuple(mean.tolist()), tuple(std.tolist())

    def pca(
        self, outputs: Bands = "RGB", like: Target | str = "imagenet"
    ) -> ChannelMap:
        """Return a map from unit intensities to their first principal components.

        The components are whitened and then given the mean and the standard deviation
        that ``like`` expects, so that after the normalization of ``like`` they are
        uncorrelated with mean 0 and standard deviation 1.

        Parameters
        ----------
        outputs : str or iterable of str, default "RGB"
            The names of the output bands. The first one gets the component with the
            largest variance.
        like : Target or str, default "imagenet"
            A target with range (0, 1), or the name of such a preset. Its statistics are
            matched to the output bands by name.

        Returns
        -------
        ChannelMap
            The map from the bands of the source to ``outputs``, for ``via=`` of
            `plan`. The loading of largest magnitude of each component is positive; if
            several have the same magnitude, the first one is.

        Raises
        ------
        ChannelError
            If there are more outputs than bands, or ``like`` has no statistics for an
            output.
        DTypeError
            If ``like`` is neither a target nor the name of a preset.
        RangeError
            As for `normalization`; also if fewer components than outputs have nonzero
            variance, or if ``like`` has a range other than (0, 1).

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> rng = np.random.default_rng(0)
        >>> image = rng.integers(0, 4096, (20, 30, 5), np.uint16)
        >>> stats = gp.BandStats(gp.Source(("B1", "B2", "B3", "B4", "B5"), bits=12))
        >>> stats.update(image)
        >>> plan = gp.plan(stats.source, "imagenet", stats.pca("RGB"))
        >>> plan(image).shape
        (3, 20, 30)
        """
        mean, covariance = self._unit_moments()
        return principal_components(
            mean, covariance, inputs=self.source.bands, outputs=outputs, like=like
        )

    def check(self, sensor: str) -> tuple[str, ...]:
        """Compare the statistics with those published for images of a sensor.

        Found are another unit of all bands, the offset of another processing baseline,
        and bands whose mean is ten times too large or too small: in another unit, or
        with the label of another band. Bands with similar statistics, such as those of
        visible light, cannot be told apart.

        Parameters
        ----------
        sensor : str
            Name of a `graypipe.sensor` with published statistics. The bands of the
            source have any of its names, or are band1 to bandN in its order.

        Returns
        -------
        tuple of str
            One sentence per finding; empty if everything is plausible. Unit intensities
            are on the range of the sensor, not on that of the source.

        Raises
        ------
        ChannelError
            If the sensor is unknown or has no published statistics, or if a band is not
            one of the sensor.
        RangeError
            If no valid pixels have been added.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> rng = np.random.default_rng(0)
        >>> reflectance = rng.normal(0.2, 0.1, (64, 64, 3)).clip(0)
        >>> stats = gp.BandStats(gp.Source.from_sensor("sentinel-2-l2a", "RGB"))
        >>> stats.update((1001 + 10000 * reflectance).astype(np.uint16))
        >>> stats.check("sentinel-2-l2a")
        ()
        >>> stats.check("sentinel-2-l2a-before-04.00")[0][-37:]
        "the images look like 'sentinel-2-l2a'"
        """
        minimum, _ = self._valid_accumulator().extremes()
        return sensor_notes(sensor, self.source.bands, self.mean, self.std, minimum)

    def _unit_moments(self) -> tuple[Floats, Floats]:
        """Return mean and covariance of the unit intensities that a plan computes.

        Raises RangeError if the range is unknown, or a band is constant.
        """
        accumulator = self._valid_accumulator()
        pairs = self.source._pairs(self.dtype)
        self._check_extremes(*accumulator.extremes())
        mean, covariance = accumulator.moments(clipped=True)
        flat_names = self._describe_bands(np.diagonal(covariance) <= 0)
        if flat_names:
            clipped = ""
            if self.source.clip:
                clipped = " after clipping"
            raise RangeError(
                f"all pixels{clipped} have the same value in {flat_names}, so std is "
                "0: remove such bands from the images, or set mean and std explicitly "
                "(std 1, for example)"
            )
        black, white = np.array(pairs).T
        # A unit intensity is (stored - black) / (white - black), so its moments follow
        # from the moments of stored values. A reversed range has a negative scale.
        scale = white - black
        return (mean - black) / scale, covariance / np.outer(scale, scale)

    def _check_extremes(self, minimum: Floats, maximum: Floats) -> None:
        """Raise RangeError for extremes that a plan refuses."""
        dtype = np.dtype(self.dtype)
        if not self.source._declares_range and dtype.kind == "f":
            value_tests.check_implied_range(minimum.min(), maximum.max())
        limits = self.source._highest_integers(dtype)
        if limits is not None:
            for highest, limit in zip(maximum, limits, strict=True):
                value_tests.check_highest(highest, limit)

    def _valid_accumulator(self) -> Accumulator:
        """Return the accumulator, or raise RangeError if it has no valid pixels."""
        if self._accumulator is None:
            raise RangeError("no images have been added: call update(image) first")
        if not self.count:
            reason = "all images so far are empty"
            if self.source.nodata is not None:
                reason = "every pixel so far is nodata in a band"
            raise RangeError(
                f"no valid pixels have been added, {reason}: call update(image) with "
                "valid pixels first"
            )
        return self._accumulator

    def _select_names(self, mask: NDArray[np.bool_]) -> tuple[str, ...]:
        """Return the names of the bands for which ``mask`` is True."""
        return tuple(self.source.bands[i] for i in np.flatnonzero(mask))

    def _describe_bands(self, mask: NDArray[np.bool_]) -> str:
        """Return "band 'R'" or "bands 'R', 'G'", or "" if ``mask`` is all False."""
        names = [repr(name) for name in self._select_names(mask)]
        if not names:
            return ""
        if len(names) == 1:
            return f"band {names[0]}"
        return f"bands {', '.join(names)}"

    def to_json(self) -> str:
        """Return the statistics as JSON.

        Returns
        -------
        str
            Canonical text: equal statistics have equal text.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> stats = gp.BandStats("gray")
        >>> stats.update(np.array([[1, 2]], np.uint8))
        >>> gp.BandStats.from_json(stats.to_json()) == stats
        True
        """
        record: dict[str, Any] = {"source": serialization.to_record(self.source)}
        # Omit what is not known yet: min and max without pixels are infinite, which
        # JSON cannot express.
        if self.dtype is not None:
            record["dtype"] = self.dtype
        if self.count:
            record["statistics"] = self._valid_accumulator().to_record()
        return serialization.to_text(record)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Create statistics from the text that `to_json` returned.

        Parameters
        ----------
        text : str
            The JSON text.

        Returns
        -------
        BandStats
            Statistics equal to the original ones, which can be updated further.

        Raises
        ------
        ChannelError
            If the text is not the JSON of consistent statistics.

        Notes
        -----
        Counts, sums, extremes and percentiles are checked for consistency.

        Examples
        --------
        >>> import graypipe as gp
        >>> text = gp.BandStats("RGB").to_json()
        >>> gp.BandStats.from_json(text)
        BandStats('RGB', no images)
        """
        record = serialization.from_text(text)
        expected_fields = (
            {"source"},
            {"source", "dtype"},
            {"source", "dtype", "statistics"},
        )
        if set(record) not in expected_fields:
            raise ChannelError(
                "expected the JSON of statistics, as written by to_json, with the key "
                "'source' and optionally 'dtype' and 'statistics', got "
                f"{sorted(record)}"
            )
        stats = cls(serialization.from_record(Source, record["source"], "bands"))
        if "dtype" in record:
            dtype = stats._check_dtype(engine.supported_dtype(record["dtype"]).name)
            accumulator = empty_accumulator(stats.source, dtype)
            if "statistics" in record:
                load_record(accumulator, record["statistics"])
            stats._merge(dtype, accumulator)
        return stats

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BandStats):
            return NotImplemented
        return self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # statistics are mutable

    def _repr_html_(self) -> str:
        """Return a table for notebooks: one row per band, in stored values."""
        from ..notebook import table

        if not self.count:
            return table(repr(self), [])
        columns = (self.source.bands, self.mean, self.std, self.min, self.max)
        rows = []
        for band, *values in zip(*columns, strict=True):
            rows.append((band, *(f"{value:.6g}" for value in values)))
        return table(repr(self), rows, ("band", "mean", "std", "min", "max"))

    def __repr__(self) -> str:
        parts = [format_bands(self.source.bands)]
        if self.dtype is None:
            parts.append("no images")
        else:
            parts += [self.dtype, f"{self.count:,} pixels"]
        if self.count and self.constant:
            parts.append(f"constant: {self.constant}")
        return f"BandStats({', '.join(parts)})"


# Called for every image. The check takes longer than counting a small one.
@lru_cache(maxsize=64)
def _check_representable(source: Source, dtype: str) -> None:
    """Raise RangeError or DTypeError if images of ``source`` cannot have ``dtype``."""
    if not (source._declares_range or source.clip):
        # Statistics of stored values do not need black and white. Check the rest of the
        # source with the range (0, 1), which every dtype can represent.
        source = replace(source, bits=1)
    source._pairs(dtype)


def _check_percentile(q: Any) -> float:
    """Return ``q`` as a float, or raise RangeError unless it is from 0 to 100."""
    number = as_finite_float(q, "a percentile")
    if not 0 <= number <= 100:
        raise RangeError(f"expected a percentile from 0 to 100, got {number:g}")
    return number
