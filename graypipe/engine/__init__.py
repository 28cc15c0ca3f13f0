"""The front door of the engine: a pass bound to layouts and element types, then called on images."""

import os
from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import layouts
from ..errors import MissingExtraError
from . import views
from .arrays import check_image, check_out, element_type, holds, limits
from .spec import AffineSpec
from .threads import check_threads, in_threads, split

__all__ = [
    "AffineSpec",
    "Execution",
    "check_image",
    "check_out",
    "check_threads",
    "element_type",
    "holds",
    "in_threads",
    "limits",
    "name",
]

ENGINES = ("numba", "numpy")


@cache
def engine() -> ModuleType:
    """Return the engine that runs passes: numba where it is installed, else NumPy; GRAYPIPE_ENGINE may name either.

    Decided at the first pass, so that importing the package imports neither.
    """
    wanted = os.environ.get("GRAYPIPE_ENGINE")
    if wanted not in (None, *ENGINES):
        raise ValueError(f"GRAYPIPE_ENGINE is one of {ENGINES}, got {wanted!r}")
    if wanted != "numpy":
        try:
            return import_module(".numba_engine", __name__)
        except ModuleNotFoundError as error:
            if error.name != "numba":
                raise
            if wanted == "numba":
                raise MissingExtraError(
                    'GRAYPIPE_ENGINE=numba needs numba: pip install "graypipe[fast]"'
                ) from None
    return import_module(".numpy_engine", __name__)


def name() -> str:
    """Return the name of the engine that runs passes: "numba" or "numpy"."""
    return engine().__name__.rpartition(".")[2].removesuffix("_engine")


class Execution:
    """A pass bound to a conversion and to element types: every decision is taken, what remains is to run it.

    ``spec`` reads images of ``conversion.source`` and element type ``source``, and writes ``conversion.target`` and ``target``.
    """

    def __init__(
        self,
        spec: AffineSpec,
        conversion: layouts.LayoutConversion,
        source: DTypeLike,
        target: DTypeLike,
    ) -> None:
        self.spec = spec
        self.conversion = conversion
        self.source = element_type(source)
        self.target = element_type(target)
        self.order, self.out_order = conversion.source_order, conversion.target_order
        self.shape = lru_cache(maxsize=256)(self._shape)

    @cached_property
    def kernel(self) -> Callable[[NDArray[Any], NDArray[Any]], None]:
        """The function (source planes, target planes) -> None of the engine; the first use may compile it."""
        kernel: Callable[[NDArray[Any], NDArray[Any]], None] = engine().prepare(
            self.spec, self.source, self.target
        )
        return kernel

    def __call__(
        self, image: NDArray[Any], out: NDArray[Any] | None = None, threads: int = 1
    ) -> NDArray[Any]:
        """Return the result for ``image``, written into ``out`` or into fresh C-contiguous memory."""
        shape = self.shape(image.shape)
        if out is None:
            out = np.empty(shape, self.target)
        else:
            check_out(out, shape, self.target, image)
        self.into(image, out, threads)
        return out

    def into(self, image: NDArray[Any], out: NDArray[Any], threads: int = 1) -> None:
        """Write the result for ``image`` into ``out``, both checked before."""
        source = image.transpose(self.order) if self.order else image[None]
        target = out.transpose(self.out_order) if self.out_order else out[None]
        if threads == 1:
            self.kernel(source, target)
        else:
            split(self.kernel, source, target, threads)

    def _shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the result for an image of ``shape``.

        LayoutError or ChannelError where that is not of the declared layout and bands. Called as ``shape``, which
        remembers: in a small image every microsecond counts.
        """
        layouts.check_shape(shape, self.conversion.source, len(self.spec.centre))
        return self.conversion.target_shape(shape, len(self.spec.matrix))

    @cached_property
    def progression(self) -> tuple[int, int] | None:
        """(First band, step) where strides alone express the result, else None."""
        moves = (
            self.spec.moves(self.source, self.target) and self.source == self.target
        )  # byte order included
        return views.progression(self.spec.picks) if moves and self.spec.picks else None

    def view(self, image: NDArray[Any]) -> NDArray[Any] | None:
        """Return the result as a read-only view of ``image``, or None where strides cannot express it.

        A test of an implied range would read every value, so a view goes without it. LayoutError or ChannelError where
        the image is not of the declared layout and bands.
        """
        self.shape(image.shape)
        return self.progression and views.view(
            image, self.conversion, *self.progression, len(self.spec.matrix)
        )

    @cached_property
    def compute_dtype(self) -> np.dtype[Any]:
        """The precision the affine part is computed in."""
        return self.spec.compute_dtype(self.source, self.target)

    def why_no_view(self) -> str:
        """Return what stands in the way of a view."""
        if self.spec.clip is not None or self.spec.nodata is not None:
            return "nodata= and clip= change values, which a view cannot"
        if self.spec.picks is None:
            return "the map computes new values, which a view cannot"
        if self.source != self.target:
            return f"the dtype changes (to {self.target}), which a view cannot"
        return f"bands {self.spec.picks} are not in arithmetic progression, so no strides express them"
