"""The engine: affine passes over images, bound to layouts and dtypes.

Plans and maps call `Execution`. It uses the numba engine if numba is installed, else
the NumPy engine; both give the same result, bit for bit.
"""

import os
from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import layouts
from ..extras import require_extra
from . import views
from .arrays import check_image, check_out, holds, limits, supported_dtype
from .spec import AffineSpec
from .threads import check_threads, in_threads, split

__all__ = [
    "AffineSpec",
    "Execution",
    "check_image",
    "check_out",
    "check_threads",
    "holds",
    "in_threads",
    "limits",
    "name",
    "supported_dtype",
]

ENGINES = ("numba", "numpy")

# Maximum number of combinations of shapes and strides that an Execution caches. Without
# a bound, the cache would grow with every new size of image.
MAX_CACHED_RUNS = 256

Run = Callable[[NDArray[Any], NDArray[Any]], bool]


@cache
def engine() -> ModuleType:
    """Return the engine that runs passes: numba if it is installed, else NumPy.

    The environment variable ``GRAYPIPE_ENGINE`` names one of them. The choice is made
    at the first pass, so that ``import graypipe`` imports neither.

    Raises
    ------
    MissingExtraError
        If ``GRAYPIPE_ENGINE`` is "numba" and numba is not installed.
    ValueError
        If ``GRAYPIPE_ENGINE`` is anything but "numba" or "numpy".
    """
    choice = os.environ.get("GRAYPIPE_ENGINE")
    if choice not in (None, *ENGINES):
        raise ValueError(f"GRAYPIPE_ENGINE must be one of {ENGINES}, got {choice!r}")
    if choice == "numba":
        with require_extra("fast", "numba"):
            return import_module(".numba_engine", __name__)
    if choice is None:
        try:
            return import_module(".numba_engine", __name__)
        except ModuleNotFoundError as error:
            if error.name != "numba":
                raise
    return import_module(".numpy_engine", __name__)


def name() -> str:
    """Return the name of the engine that runs passes: "numba" or "numpy"."""
    return engine().__name__.rpartition(".")[2].removesuffix("_engine")


class Execution:
    """A pass bound to a layout conversion and to dtypes.

    Decisions that depend only on these are taken once, so that a call takes little more
    time than the pass over the pixels.

    Parameters
    ----------
    spec : AffineSpec
        What to compute.
    conversion : LayoutConversion
        The layouts of images and results.
    source_dtype, target_dtype : dtype-like
        The dtypes of images and results, of any byte order.
    """

    def __init__(
        self,
        spec: AffineSpec,
        conversion: layouts.LayoutConversion,
        source_dtype: DTypeLike,
        target_dtype: DTypeLike,
    ) -> None:
        self.spec = spec
        self.conversion = conversion
        self.source_dtype = supported_dtype(source_dtype)
        self.target_dtype = supported_dtype(target_dtype)
        # For `view`: checking a shape takes a fifth of its time.
        self._cached_shape = lru_cache(maxsize=MAX_CACHED_RUNS)(self.shape)
        self._source_order = _order(conversion.source_order)
        self._target_order = _order(conversion.target_order)
        # Each image of a leading N is tested by itself.
        pixel_axes = conversion.source_layout.replace("C", "")
        self._batch_ndim = int(pixel_axes.startswith("N"))
        self._runs: dict[Any, tuple[tuple[int, ...], Run]] = {}
        self._bind: Callable[[NDArray[Any], NDArray[Any]], Run] | None = None

    def _bind_planes(self, source: NDArray[Any], target: NDArray[Any]) -> Run:
        """Bind the pass to the strides of planes; the first call may compile a kernel.

        Not a cached property: in Python 3.11, these hold a lock while they compute. If
        another thread forks meanwhile, the child would wait for the lock forever.
        """
        if self._bind is None:
            self._bind = engine().prepare(
                self.spec, self.source_dtype, self.target_dtype
            )
        return self._bind(source, target)

    def __call__(  # noqa: C901, PLR0912  # function calls slow down small images
        self, image: NDArray[Any], out: NDArray[Any] | None = None, threads: int = 1
    ) -> NDArray[Any]:
        """Return the result for ``image``.

        Parameters
        ----------
        image : numpy.ndarray
            An image of the source's layout and dtype, of any strides.
        out : numpy.ndarray, optional
            Array for the result, checked by `check_out`; a new C-contiguous array if
            not given.
        threads : int
            The number of threads that share the pixels.

        Raises
        ------
        LayoutError, ChannelError
            If the shape of ``image`` does not fit the layout and bands.
        RangeError
            If values contradict the source.
        """
        if out is None:
            key: Any = image.shape, image.strides
        elif type(out) is np.ndarray:
            key = image.shape, image.strides, out.strides
        elif isinstance(out, np.ndarray):
            # A subclass may define its methods in another way.
            self(image, np.asarray(out), threads)
            return out
        else:
            key = None
        # One look-up replaces most checks and decisions: for a small image, every 0.1
        # microseconds counts.
        bound = self._runs.get(key)
        if bound is None:
            bound = self._bind_arrays(image, out)
            if len(self._runs) >= MAX_CACHED_RUNS:
                self._runs.clear()
            self._runs[key] = bound
        shape, run = bound
        if out is None:
            out = np.empty(shape, self.target_dtype)
        else:
            check_out(out, shape, self.target_dtype, image)
        # `_planes`, written out: calling it twice takes 5 % of a 32 x 32 image.
        source, order = image, self._source_order
        if order is None:
            source = image[None]
        elif order:
            source = image.transpose(order)
        target, order = out, self._target_order
        if order is None:
            target = out[None]
        elif order:
            target = out.transpose(order)
        if threads == 1:
            is_reported = run(source, target)
        else:
            is_reported = split(self._run, source, target, threads)
        if is_reported:
            self._check_values(source, self._batch_ndim)
        return out

    def into(self, image: NDArray[Any], out: NDArray[Any], threads: int = 1) -> None:
        """Write the result for ``image`` into ``out`` without checking either."""
        source = self._planes(image, self._source_order)
        target = self._planes(out, self._target_order)
        self.run(source, target, self._batch_ndim, threads)

    def _bind_arrays(
        self, image: NDArray[Any], out: NDArray[Any] | None
    ) -> tuple[tuple[int, ...], Run]:
        """Return the shape of the result, and the pass bound to the arrays' strides."""
        shape = self.shape(image.shape)
        if out is None:
            out = np.empty(shape, self.target_dtype)
        else:
            check_out(out, shape, self.target_dtype, image)
        source = self._planes(image, self._source_order)
        target = self._planes(out, self._target_order)
        return shape, self._bind_planes(source, target)

    def run(
        self,
        source: NDArray[Any],
        target: NDArray[Any],
        batch_ndim: int,
        threads: int = 1,
    ) -> None:
        """Execute the pass on planes, (bands, pixel axes...), of any strides.

        The first ``batch_ndim`` pixel axes count images. Raises RangeError if values
        contradict the source.
        """
        if threads == 1:
            is_reported = self._run(source, target)
        else:
            is_reported = split(self._run, source, target, threads)
        if is_reported:
            self._check_values(source, batch_ndim)

    def _run(self, source: NDArray[Any], target: NDArray[Any]) -> bool:
        """Execute the pass on planes; return whether their values must be checked."""
        return self._bind_planes(source, target)(source, target)

    def _check_values(self, source: NDArray[Any], batch_ndim: int) -> None:
        """Raise RangeError if the values of planes contradict the source."""
        # Imported here, because almost no image is reported.
        from .value_tests import check_values

        check_values(self.spec, self.source_dtype, source, batch_ndim)

    @staticmethod
    def _planes(array: NDArray[Any], order: tuple[int, ...] | None) -> NDArray[Any]:
        """View ``array`` as (bands, pixel axes...)."""
        if order is None:
            return array[None]
        if order:
            return array.transpose(order)
        return array

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the result for an image of ``shape``.

        Raises
        ------
        LayoutError, ChannelError
            If ``shape`` does not fit the layout and bands of the source.
        """
        layouts.check_shape(
            shape, self.conversion.source_layout, len(self.spec.black_levels)
        )
        return self.conversion.target_shape(shape, len(self.spec.matrix))

    @cached_property
    def progression(self) -> tuple[int, int] | None:
        """(First band, step) if strides alone can express the result, else None."""
        if not self.spec.selected_bands or not self.spec.only_copies(
            self.source_dtype, self.target_dtype
        ):
            return None
        if self.source_dtype != self.target_dtype:  # in their byte order
            return None
        return views.progression(self.spec.selected_bands)

    def view(self, image: NDArray[Any]) -> NDArray[Any] | None:
        """Return the result as a read-only view of ``image``.

        Returns None if strides cannot express it. Values are not tested, because that
        would read all of them.

        Raises
        ------
        LayoutError, ChannelError
            If the shape of ``image`` does not fit the layout and bands.
        """
        self._cached_shape(image.shape)
        if self.progression is None:
            return None
        first, step = self.progression
        return views.view(image, self.conversion, first, step, len(self.spec.matrix))

    @cached_property
    def compute_dtype(self) -> np.dtype[Any]:
        """The precision of the affine part."""
        return self.spec.compute_dtype(self.source_dtype, self.target_dtype)

    def why_no_view(self) -> str:
        """Return why the result cannot be a view, for an error message."""
        if self.spec.clip is not None or self.spec.nodata is not None:
            return "nodata= and clip= change values, which a view cannot"
        if self.spec.selected_bands is None:
            return "the map computes new values, which a view cannot"
        if self.source_dtype != self.target_dtype:
            return f"the dtype changes (to {self.target_dtype}), which a view cannot"
        return (
            f"bands {self.spec.selected_bands} are not in arithmetic progression, "
            "so no strides express them"
        )


def _order(order: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return ``order``, or () if it changes nothing: transposing takes 0.15 µs."""
    if order == tuple(range(len(order or ()))):
        return ()
    return order
