"""Sources: the bands, the layout and the value range of the images that arrive."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from . import layouts
from .bands import format_bands, parse_bands
from .engine import element_type, holds, limits
from .errors import ChannelError, DTypeError, RangeError
from .validation import as_finite_float, as_pair, is_ordered_iterable, set_fields

Pair = tuple[float, float]

# (black, white) where no range is declared. Floating dtypes imply (0, 1).
IMPLIED_RANGES = {"bool": (0.0, 1.0), "uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}


@dataclass(frozen=True, eq=False, init=False)
class Source:
    """Description of the images that a plan receives.

    Everything is declared; pixels are never inspected to guess a range or a layout.
    Instances are immutable, hashable and picklable. Change a field with
    `dataclasses.replace`.

    Parameters
    ----------
    bands : str or sequence of str, default "gray"
        ``"gray"``, a string of distinct capital letters with one band per letter
        (``"RGBY"``), or a sequence of names (``("B02", "B03")``).
    layout : str, optional
        Axes of the image, letters out of N, T, D, H, W and C. The default is ``"HW"``
        for one band and ``"HWC"`` for several.
    dtype : dtype_like, optional
        The only dtype to accept. By default every dtype is accepted.
    bits : int, optional
        Bit depth: ``bits=12`` is the same as ``range=(0, 4095)``.
    range : pair of float, or one pair per band, optional
        Stored values of black and white, which become the unit intensities 0 and 1. A
        reversed pair inverts the image, as MONOCHROME1 needs. If neither ``range`` nor
        ``bits`` is given, the dtype implies the range: (0, 1) for bool and floating
        dtypes, (0, 255) for uint8 and (0, 65535) for uint16. Other dtypes imply none.
    clip : bool, default False
        Whether to clip each band to its range first.
    nodata : float, optional
        Stored value that marks missing data; may be NaN. A pixel with this value in any
        band becomes 0.0 in every output band.

    Raises
    ------
    ChannelError, LayoutError, DTypeError, RangeError
        If the arguments are invalid or contradict each other, or if ``dtype`` cannot
        hold a declared value.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.Source("gray", bits=12).layout
    'HW'
    >>> ct = gp.Source("gray", range=(-160, 240), clip=True)  # a CT window
    >>> s2 = gp.Source(("B02", "B03", "B04"), "CHW", range=(1000, 11000), nodata=0)
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
        band_names = parse_bands(bands)
        set_fields(
            self,
            bands=band_names,
            layout=_parse_layout(layout, band_names),
            dtype=None if dtype is None else element_type(dtype).name,
            bits=_parse_bits(bits, range),
            range=_parse_range(range, len(band_names)),
            clip=_parse_clip(clip),
            nodata=_parse_nodata(nodata),
        )
        if self.dtype is not None:
            self._check_holds(np.dtype(self.dtype), self._declared_pairs() or ())

    @classmethod
    def from_dicom(
        cls, dataset: Any, *, window: Sequence[float] | int | None = None
    ) -> Self:
        """Describe ``dataset.pixel_array`` of a DICOM data set.

        The data set is used through its attributes; pydicom is not imported. The source
        describes stored values. MONOCHROME1 reverses the range, and PixelPaddingValue
        becomes ``nodata``.

        Parameters
        ----------
        dataset : pydicom.Dataset
            A data set with pixel data, as returned by ``pydicom.dcmread``.
        window : pair of float, or int, optional
            Black and white in rescaled values such as Hounsfield units, converted back
            exactly through RescaleSlope and RescaleIntercept, with ``clip=True``. An
            integer selects a window of the data set, counted from 0. The default is the
            whole range of BitsStored.

        Returns
        -------
        Source
            ``layout`` is HW for gray and HWC for RGB, with a leading N for several
            frames. ``dtype`` is the dtype of the pixels, or a wider one if the window
            exceeds it: ``dataset.pixel_array.astype(source.dtype)`` is always exact.

        Raises
        ------
        RangeError, ChannelError, DTypeError
            If the data set has properties that a source cannot express: a Modality LUT,
            a VOI LUT, the function SIGMOID, a palette, YBR, frames that differ, or a
            range of padding values.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> import graypipe as gp
        >>> dataset = SimpleNamespace(
        ...     Rows=4, Columns=4, SamplesPerPixel=1, BitsAllocated=16, BitsStored=12,
        ...     PixelRepresentation=0, PhotometricInterpretation="MONOCHROME1",
        ... )
        >>> gp.Source.from_dicom(dataset).range
        (4095.0, 0.0)
        """
        from .interop import dicom

        return cls(**dicom.source_keywords(dataset, window))

    @classmethod
    def from_rasterio(
        cls, dataset: Any, *, physical: Sequence[Any] | None = None, **source: Any
    ) -> Self:
        """Describe ``dataset.read()`` of a raster.

        The raster is used through its attributes; rasterio is not imported. Band
        descriptions become band names, ``nodatavals`` becomes ``nodata``. Masks stored
        apart from the bands are ignored.

        Parameters
        ----------
        dataset : rasterio.DatasetReader
            A raster, as returned by ``rasterio.open``.
        physical : pair of float, or one pair per band, optional
            Black and white in physical values, that is after the scales and offsets of
            the file. If these are not trivial, ``physical`` or ``range`` is required.
        **source
            Fields of `Source` that take precedence over the file, such as
            ``range=(1000, 11000)`` in stored values, ``bands="RGB"``, or
            ``layout="HW"`` for ``dataset.read(1)``.

        Returns
        -------
        Source
            ``layout`` is CHW. ``dtype`` is the dtype of the pixels, or a wider one if
            ``physical`` exceeds it: ``dataset.read().astype(source.dtype)`` is always
            exact.

        Raises
        ------
        ChannelError
            If the raster has a palette, or if the band names do not match.
        RangeError
            If bands differ in dtype or nodata, or if the range is ambiguous.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> import graypipe as gp
        >>> dataset = SimpleNamespace(
        ...     count=2, dtypes=("uint16",) * 2, nodatavals=(0, 0), scales=(1, 1),
        ...     offsets=(0, 0), descriptions=("B04", "B08"), colorinterp=(),
        ... )
        >>> source = gp.Source.from_rasterio(dataset, range=(0, 10000))
        >>> source.bands, source.layout, source.nodata
        (('B04', 'B08'), 'CHW', 0.0)
        """
        from .interop import rasterio

        return cls(**rasterio.source_keywords(dataset, physical, source))

    # The generated methods compare the fields, where a NaN nodata differs from itself.
    # Their text representations are equal exactly if the declarations are.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Source):
            return NotImplemented
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def _pairs(self, dtype: DTypeLike | None) -> tuple[Pair, ...]:
        """Return (black, white) of every band for images of ``dtype``.

        This is O(1) in the image size: pixels are not inspected.

        Parameters
        ----------
        dtype : dtype_like or None
            None stands for the declared dtype.

        Raises
        ------
        DTypeError
            If another dtype is declared.
        RangeError
            If the dtype implies no range, or cannot hold the declared one.
        """
        image_dtype = self._image_dtype(dtype)
        pairs = self._declared_pairs()
        if pairs is None:
            pairs = (self._implied_pair(image_dtype),) * len(self.bands)
        if image_dtype is not None:
            self._check_holds(image_dtype, pairs)
        return pairs

    @property
    def _declares_range(self) -> bool:
        """Whether the range is declared rather than implied by a dtype."""
        return self.range is not None or self.bits is not None

    def _declared_pairs(self) -> tuple[Pair, ...] | None:
        """Return the declared (black, white) of every band, or None."""
        if self.bits is not None:
            return ((0.0, 2.0**self.bits - 1),) * len(self.bands)
        if self.range is None or isinstance(self.range[0], tuple):
            return self.range
        return (self.range,) * len(self.bands)

    def _check_holds(self, dtype: np.dtype[Any], pairs: tuple[Pair, ...]) -> None:
        """Raise RangeError if ``dtype`` cannot hold a black, white or nodata value."""
        values = [value for pair in pairs for value in pair]
        if self.nodata is not None and not isnan(self.nodata):
            values.append(self.nodata)
        for value in values:
            if not holds(dtype, value):
                low, high = limits(dtype)
                raise RangeError(
                    f"{dtype} holds {low} to {high}, but the source declares a black, "
                    f"white or nodata value of {value:g}: correct range=, bits= or "
                    "nodata=, or pass the image in the dtype of its file"
                )

    def _image_dtype(self, dtype: DTypeLike | None) -> np.dtype[Any] | None:
        """Return ``dtype``, or the declared one for None; they must be the same."""
        if dtype is None:
            return None if self.dtype is None else np.dtype(self.dtype)
        image_dtype = element_type(dtype)
        if self.dtype is not None and image_dtype.name != self.dtype:
            raise DTypeError(
                f"the source declares dtype {self.dtype}, got {image_dtype}: convert "
                "the image, or change dtype= in the source"
            )
        return image_dtype

    def _implied_pair(self, dtype: np.dtype[Any] | None) -> Pair:
        """Return the (black, white) that ``dtype`` implies."""
        if dtype is None:
            raise RangeError(
                "the range of the stored values is unknown: declare "
                "range=(black, white), bits= or dtype= in the source"
            )
        if dtype.kind == "f":
            return (0.0, 1.0)
        if dtype.name not in IMPLIED_RANGES:
            raise RangeError(
                f"{dtype} does not imply a black and a white level: declare "
                "range=(black, white) or bits= in the source, such as "
                f"gp.Source({format_bands(self.bands)}, range=(0, 4095))"
            )
        return IMPLIED_RANGES[dtype.name]


def _parse_layout(layout: str | None, bands: tuple[str, ...]) -> str:
    """Return the declared layout, or the default for this number of bands."""
    if layout is None:
        return "HW" if len(bands) == 1 else "HWC"
    layout = layouts.parse(layout)
    layouts.check_band_axis(layout, len(bands), f"a source of {format_bands(bands)}")
    return layout


def _parse_bits(bits: object, range: object) -> int | None:
    """Return the declared bit depth; it excludes a range."""
    if bits is None:
        return None
    if range is not None:
        raise RangeError(
            "expected bits= or range=, got both: declare one of them; in "
            "dataclasses.replace(source, range=...), pass bits=None too"
        )
    is_integer = isinstance(bits, int | np.integer) and not isinstance(bits, bool)
    if not is_integer or not 1 <= bits <= 64:  # type: ignore[operator]
        raise RangeError(f"expected bits to be an integer from 1 to 64, got {bits!r}")
    return int(bits)  # type: ignore[call-overload, no-any-return]


def _parse_range(declared: Any, count: int) -> Pair | tuple[Pair, ...] | None:
    """Return one pair, or one pair per band if they differ."""
    if declared is None:
        return None
    name = "a range (black, white)"
    if not is_ordered_iterable(declared) or not all(
        is_ordered_iterable(part) for part in declared
    ):
        return as_pair(declared, name)
    if len(declared) != count:
        raise ChannelError(
            f"expected range to be one (black, white), or {count} pairs, one per band, "
            f"got {len(declared)}"
        )
    pairs = tuple(as_pair(part, name) for part in declared)
    if len(set(pairs)) == 1:
        return pairs[0]
    return pairs


def _parse_clip(clip: object) -> bool:
    """Return ``clip`` as a bool; numbers are refused, they look like bounds."""
    if not isinstance(clip, bool | np.bool_):
        raise RangeError(
            f"expected clip to be True or False, got {clip!r}: the bounds are those of "
            "range="
        )
    return bool(clip)


def _parse_nodata(value: Any) -> float | None:
    """Return a float, or an int for integers that float64 cannot represent."""
    if value is None:
        return None
    if isinstance(value, float | np.floating) and isnan(value):
        return nan
    number = as_finite_float(value, "nodata")
    if isinstance(value, int | np.integer) and int(number) != value:
        return int(value)
    return number
