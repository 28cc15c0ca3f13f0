"""Sources: what arrives. Bands, layout, and what the stored values mean, all declared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isnan, nan
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from . import bands as names
from . import layouts
from .engine import element_type, holds, limits
from .errors import ChannelError, DTypeError, RangeError
from .validation import finite, freeze, is_sequence, pair

Pair = tuple[float, float]

IMPLIED = {"bool": (0.0, 1.0), "uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
"""(black, white) by dtype where none is declared; floating dtypes are (0, 1)."""


@dataclass(frozen=True, eq=False, init=False)
class Source:
    """What an image is before the plan.

    ``bands``: "gray", "RGBY" or a sequence of names. ``layout``: None is "HW" for one band, "HWC" for several.
    ``range``: (black, white) in stored values, mapped to 0 and 1; one pair, or one per band; a reversed pair inverts.
    ``bits``: n means the range (0, 2ⁿ - 1). Neither: by dtype, bool (0, 1), uint8 (0, 255), uint16 (0, 65535),
    floating (0, 1). ``dtype``: refuse any other. ``clip``: clip each band to its range first. ``nodata``: a pixel whose
    stored value equals it (NaN allowed) in any band becomes 0.0 in every output band.
    Raises ChannelError, LayoutError, DTypeError or RangeError for values that contradict each other.
    """

    bands: tuple[str, ...]
    layout: str
    dtype: str | None
    bits: int | None
    range: Pair | tuple[Pair, ...] | None
    clip: bool
    nodata: float | None

    def __init__(
        self,
        bands: str | Iterable[str] = "gray",
        layout: str | None = None,
        *,
        dtype: DTypeLike | None = None,
        bits: int | None = None,
        range: Sequence[float] | Sequence[Sequence[float]] | None = None,
        clip: bool = False,
        nodata: float | None = None,
    ) -> None:
        named = names.parse(bands)
        layout = (
            ("HW" if len(named) == 1 else "HWC")
            if layout is None
            else layouts.parse(layout)
        )
        layouts.check_bands(layout, len(named), f"a source of {names.show(named)}")
        freeze(
            self,
            bands=named,
            layout=layout,
            dtype=None if dtype is None else element_type(dtype).name,
            bits=None if bits is None else _bits(bits, range),
            range=None if range is None else _range(range, len(named)),
            clip=_clip(clip),
            nodata=None if nodata is None else _nodata(nodata),
        )
        if self.dtype is not None:
            self._check_holds(np.dtype(self.dtype), self._declared() or ())

    @classmethod
    def from_dicom(
        cls, dataset: Any, *, window: Sequence[float] | int | None = None
    ) -> Self:
        """Return what ``dataset.pixel_array`` is: stored values, of a data set as ``pydicom.dcmread`` returns it.

        Gray is (H, W), RGB is (H, W, 3), several frames are a leading N. ``window=(low, high)`` are black and white in
        rescaled values, such as Hounsfield units (``window=(-160, 240)``), carried back through RescaleSlope and
        RescaleIntercept exactly, and clipped to. ``window=0`` is the first window of the data set, with the ends that
        its VOILUTFunction gives it. None: all that BitsStored hold, whatever window the data set has. MONOCHROME1
        reverses the range, PixelPaddingValue is nodata. ``dtype`` is that of the pixels, or a wider one where a window
        reaches further than they can: ``dataset.pixel_array.astype(source.dtype)`` always fits.
        RangeError, ChannelError or DTypeError, with what to do, where the data set says what a source cannot: Modality
        LUT, VOI LUT, SIGMOID, palettes, YBR, frames that differ, a range of padding.
        """
        from .interop import dicom

        return cls(**dicom.fields(dataset, window))

    @classmethod
    def from_rasterio(
        cls, dataset: Any, *, physical: Sequence[Any] | None = None, **source: Any
    ) -> Self:
        """Return what ``dataset.read()`` is: stored values, (C, H, W), of a raster as ``rasterio.open`` returns it.

        The descriptions are the names of the bands, nodatavals are nodata. Keywords go into the Source and come before
        what the file says: ``range=(1000, 11000)`` in stored values, ``bands="RGB"``, ``layout="HW"`` for
        ``dataset.read(1)``. ``physical`` instead of ``range`` are black and white as the file's scales and offsets
        count, one pair or one per band; where these scale, one of the two must be declared. ``dtype`` is that of the
        pixels, or a wider one where ``physical`` reaches further than they can: ``dataset.read().astype(source.dtype)``
        always fits. Masks kept beside the bands are not looked at.
        ChannelError for a palette and for names that do not fit; RangeError where bands differ in dtype or nodata.
        """
        from .interop import rasterio

        return cls(**rasterio.fields(dataset, physical, source))

    def __eq__(self, other: object) -> bool:
        return (
            repr(self) == repr(other) if isinstance(other, Source) else NotImplemented
        )  # a NaN nodata equals itself

    def __hash__(self) -> int:
        return hash(repr(self))

    def _pairs(self, dtype: DTypeLike | None) -> tuple[Pair, ...]:
        """Return (black, white) of every band in images of ``dtype``, O(1): pixels are never looked at.

        ``None`` stands for the declared dtype. DTypeError for another dtype than the declared one; RangeError where
        the dtype implies no range, or cannot hold the declared one.
        """
        known = self._known(dtype)
        pairs = self._declared() or (self._implied(known),) * len(self.bands)
        if known is not None:
            self._check_holds(known, pairs)
        return pairs

    def _declared(self) -> tuple[Pair, ...] | None:
        if self.bits is not None:
            return ((0.0, 2.0**self.bits - 1),) * len(self.bands)
        if self.range is None or isinstance(self.range[0], tuple):
            return self.range
        return (self.range,) * len(self.bands)

    def _check_holds(self, dtype: np.dtype[Any], pairs: tuple[Pair, ...]) -> None:
        nodata = () if self.nodata is None or isnan(self.nodata) else (self.nodata,)
        for value in (*chain.from_iterable(pairs), *nodata):
            if not holds(dtype, value):
                low, high = limits(dtype)
                raise RangeError(
                    f"{dtype} holds {low} to {high}, so a black, white or nodata of {value:g} cannot be in it: correct "
                    f"range=, bits= or nodata=, or keep the full depth of the file up to here"
                )

    @property
    def _declares_range(self) -> bool:
        """Whether the range is declared rather than implied by a dtype."""
        return self.range is not None or self.bits is not None

    def _known(self, dtype: DTypeLike | None) -> np.dtype[Any] | None:
        if dtype is None:
            return None if self.dtype is None else np.dtype(self.dtype)
        known = element_type(dtype)
        if self.dtype is not None and known.name != self.dtype:
            raise DTypeError(
                f"the source declares dtype {self.dtype}, got {known}: convert the image or the declaration"
            )
        return known

    def _implied(self, dtype: np.dtype[Any] | None) -> Pair:
        if dtype is None:
            raise RangeError(
                "the range of the stored values is open: declare range=(black, white), bits= or dtype= in the source"
            )
        if dtype.kind == "f":
            return (0.0, 1.0)
        if dtype.name not in IMPLIED:
            raise RangeError(
                f"{dtype} says nothing about black and white: declare range=(black, white) or bits= in the source, "
                f"such as gp.Source({names.show(self.bands)}, range=(0, 4095))"
            )
        return IMPLIED[dtype.name]


def _bits(bits: object, range: object) -> int:
    if range is not None:
        raise RangeError(
            "bits= and range= say the same thing: declare one of them; in dataclasses.replace(source, range=...), pass "
            "bits=None too"
        )
    if (
        isinstance(bits, bool)
        or not isinstance(bits, int | np.integer)
        or not 1 <= bits <= 64
    ):
        raise RangeError(f"bits is an integer from 1 to 64, got {bits!r}")
    return int(bits)


def _range(declared: Any, count: int) -> Pair | tuple[Pair, ...]:
    what = "a range (black, white)"
    if not is_sequence(declared) or not all(is_sequence(part) for part in declared):
        return pair(declared, what)
    if len(declared) != count:
        raise ChannelError(
            f"range holds one (black, white), or one per band: expected {count} pairs, got {len(declared)}"
        )
    pairs = tuple(pair(part, what) for part in declared)
    return pairs[0] if len(set(pairs)) == 1 else pairs


def _clip(clip: object) -> bool:
    if not isinstance(clip, bool | np.bool_):
        raise RangeError(
            f"clip is True or False, got {clip!r}: the bounds come from range="
        )
    return bool(clip)


def _nodata(value: Any) -> float:
    """Return a float; an integer that float64 cannot hold stays one."""
    if isinstance(value, float | np.floating) and isnan(value):
        return nan
    if isinstance(value, int | np.integer) and int(finite(value, "nodata")) != value:
        return int(value)
    return finite(value, "nodata")
