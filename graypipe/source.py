"""Sources: the bands, the layout and the value range of the input images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import isnan, nan
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import layouts, serialization
from .bands import format_bands, parse_bands
from .engine import holds, limits, supported_dtype
from .errors import ChannelError, DTypeError, RangeError
from .messages import describe_value
from .sensor import check_source, source_keywords
from .validation import (
    as_finite_float,
    as_pair,
    check_nodata_count,
    is_ordered_iterable,
    set_fields,
)

# (black, white) in stored values
Pair = tuple[float, float]

# (black, white) of sources without a declared range. Floating dtypes imply (0, 1).
IMPLIED_RANGES = {"bool": (0.0, 1.0), "uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}


@dataclass(frozen=True, eq=False, init=False)
class Source:
    """Description of the input images of a plan.

    The range is declared or implied by the dtype; the layout is declared or implied by
    the number of bands. Neither is inferred from the pixels. Instances are immutable,
    hashable and picklable. Change a field with `dataclasses.replace`.

    Parameters
    ----------
    bands : str or sequence of str, default "gray"
        ``"gray"``, a string of distinct capital letters with one band per letter
        (``"RGBY"``), or a sequence of names (``("B02", "B03")``).
    layout : str, optional
        Axes of the image: a string of the letters N, T, D, H, W and C. The default is
        ``"HW"`` for one band and ``"HWC"`` for several.
    dtype : dtype_like, optional
        Required dtype of the images. By default, any supported dtype is accepted.
    bits : int, optional
        Bit depth: ``bits=12`` is the same as ``range=(0, 4095)``.
    range : pair of float, or one pair per band, optional
        Stored values of black and white, which become the unit intensities 0 and 1. A
        reversed pair inverts the image, as required for MONOCHROME1. If neither
        ``range`` nor ``bits`` is given, the dtype implies the range: (0, 1) for bool
        and floating dtypes, (0, 255) for uint8 and (0, 65535) for uint16. Other dtypes
        do not imply a range.
    clip : bool, default False
        Whether to clip each band to its range before the map is applied.
    nodata : float, or one float or None per band, optional
        Stored value that marks missing data; may be NaN. With a single value, all
        output bands of a pixel are set to 0.0 if any band of the pixel has this value.
        With one value per band, an output band is set to 0.0 where a band that it reads
        has its own nodata value; None marks bands without one.
    sensor : str, optional
        Name of the sensor whose images these are, as `from_sensor` sets it. The bands
        must have its official names, and the range must be declared. It lets a ``via``
        mapping of `plan` use the aliases of the bands, and changes nothing else.

    Raises
    ------
    ChannelError, LayoutError, DTypeError, RangeError
        If the arguments are invalid or contradict each other, or if ``dtype`` cannot
        represent a declared value.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.Source("gray", bits=12).layout
    'HW'
    >>> ct = gp.Source("gray", range=(-160, 240), clip=True)  # a CT window
    >>> s2 = gp.Source(("B02", "B03", "B04"), "CHW", range=(1000, 11000), nodata=0)
    >>> rgbd = gp.Source(
    ...     ("R", "G", "B", "depth"), range=(0, 65535), nodata=(None, None, None, 0)
    ... )
    """

    bands: tuple[str, ...]
    layout: str
    dtype: str | None
    bits: int | None
    range: Pair | tuple[Pair, ...] | None
    clip: bool
    nodata: float | tuple[float | None, ...] | None
    sensor: str | None

    def __init__(
        self,
        bands: str | Iterable[str] = "gray",
        layout: str | None = None,
        *,
        dtype: DTypeLike | None = None,
        bits: int | None = None,
        range: Sequence[float] | Sequence[Sequence[float]] | None = None,
        clip: bool = False,
        nodata: float | Sequence[float | None] | None = None,
        sensor: str | None = None,
    ) -> None:
        band_names = parse_bands(bands)
        set_fields(
            self,
            bands=band_names,
            layout=_validate_layout(layout, band_names),
            dtype=None if dtype is None else supported_dtype(dtype).name,
            bits=_validate_bits(bits, range),
            range=_validate_range(range, len(band_names)),
            clip=_validate_clip(clip),
            nodata=_validate_nodata(nodata, len(band_names)),
            sensor=sensor,
        )
        if sensor is not None:
            check_source(sensor, self.bands, self._declares_range)
        if self.dtype is not None:
            self._check_representable(
                np.dtype(self.dtype), self._declared_pairs() or ()
            )

    @classmethod
    def from_dicom(
        cls, dataset: Any, *, window: Sequence[float] | int | str | None = None
    ) -> Self:
        """Describe ``dataset.pixel_array`` of a DICOM data set.

        The data set is used through its attributes; pydicom is not imported. The source
        describes stored values. MONOCHROME1 reverses the range, and PixelPaddingValue
        becomes ``nodata``.

        Parameters
        ----------
        dataset : pydicom.Dataset
            A data set with pixel data, as returned by ``pydicom.dcmread``.
        window : pair of float, int or "auto", optional
            Black and white in rescaled values such as Hounsfield units. They are
            converted exactly to stored values with RescaleSlope and RescaleIntercept,
            and ``clip`` is set. An integer is the 0-based index of a window in the data
            set. ``"auto"`` is its first window if it has one. Otherwise, and by
            default, the range is the whole range of BitsStored, or of the dtype if
            BitsStored is missing. CT images need a window.

        Returns
        -------
        Source
            ``layout`` is HW for gray and HWC for RGB, with a leading N for several
            frames. ``dtype`` is the dtype of the pixels, or a wider one if the window
            exceeds it: ``dataset.pixel_array.astype(source.dtype)`` is always exact.

        Raises
        ------
        RangeError, ChannelError, DTypeError
            If the data set has no pixels, or no window although it has floating pixels
            or is a CT image. Also if it has properties that a source cannot express: a
            Modality LUT, a VOI LUT, the VOI LUT function SIGMOID, a palette, YBR
            colours, frames with different attributes, or a range of padding values.

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
        cls,
        dataset: Any,
        *,
        physical: Sequence[Any] | None = None,
        indexes: int | Sequence[int] | None = None,
        **source: Any,
    ) -> Self:
        """Describe ``dataset.read(indexes)`` of a raster.

        The raster is used through its attributes; rasterio is not imported. Band
        descriptions become band names, ``nodatavals`` becomes ``nodata`` (one value
        per band if they differ), and the NBITS of GDAL becomes ``bits``. Separate mask
        bands are ignored.

        Parameters
        ----------
        dataset : rasterio.DatasetReader
            A raster, as returned by ``rasterio.open``.
        physical : pair of float, or one pair per band, optional
            Black and white in physical values, that is, after the scales and offsets of
            the file are applied. If these are not 1 and 0, ``physical`` or ``range`` is
            required.
        indexes : int or sequence of int, optional
            Numbers of the bands that are read, counted from 1, in the order in which
            ``dataset.read(indexes)`` returns them. The default is all bands.
        **source
            Fields of `Source` that take precedence over the file, such as
            ``range=(1000, 11000)`` in stored values, or ``bands="RGB"``.
            ``sensor="sentinel-2-l2a"`` stands for the range and nodata of a `sensor`;
            descriptions may then contain any names of its bands, and a raster whose
            descriptions contain none has the bands of the sensor.

        Returns
        -------
        Source
            Without descriptions, the only band of a raster is called gray, and others
            band1, band2 and so on. ``layout`` is CHW, or HW if ``indexes`` is an
            integer. ``dtype`` is the dtype of the pixels, or a wider one if
            ``physical`` exceeds it: ``dataset.read(indexes).astype(source.dtype)`` is
            always exact. It is None for a floating raster whose ``range`` is given, so
            that plans test whether the values have been divided.

        Raises
        ------
        ChannelError
            If the raster has a palette, if the band names do not match, or if
            ``indexes`` names bands that the raster lacks.
        RangeError
            If bands differ in dtype, or if the range is ambiguous.

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

        return cls(**rasterio.source_keywords(dataset, physical, indexes, source))

    @classmethod
    def from_sensor(
        cls, name: str, bands: str | Iterable[str] | None = None, **source: Any
    ) -> Self:
        """Describe images of a sensor, as its publisher delivers them.

        Parameters
        ----------
        name : str
            Name of a `sensor`, such as ``"sentinel-2-l2a"``.
        bands : str or sequence of str, optional
            The bands of the images, in this order, as official names or aliases:
            ``("red", "green", "B08")``, or ``"RGB"``. By default, all bands of the
            sensor in the order of its files.
        **source
            Fields of `Source` that take precedence over the facts about the sensor,
            such as ``layout="CHW"``, or ``range=(0, 1)`` for values that were rescaled.

        Returns
        -------
        Source
            ``bands`` are official names. ``range`` and ``nodata`` are those of the
            sensor. No dtype is required, so that values that were cast are accepted;
            declare ``dtype=`` to refuse them.

        Raises
        ------
        ChannelError
            If the sensor is unknown, or has no such band.

        Examples
        --------
        >>> import graypipe as gp
        >>> source = gp.Source.from_sensor("sentinel-2-l2a", ("red", "green", "blue"))
        >>> source.bands, source.range, source.nodata
        (('B04', 'B03', 'B02'), (1000.0, 11000.0), 0.0)
        >>> plan = gp.plan(source, "unit", via={"R": "red", "G": "green", "B": "blue"})
        >>> plan.source.sensor
        'sentinel-2-l2a'
        """
        return cls(**source_keywords(name, bands, source))

    @property
    def black(self) -> float | tuple[float, ...]:
        """Stored value of black: the fill for rotations, crops and padding.

        Filling with 0 instead is wrong for every source whose black is not 0: corners
        are white in MONOCHROME1, and gray in a CT window.

        Returns
        -------
        float or tuple of float
            One number if all bands have the same black, otherwise one per band. Whole
            numbers are of type int, because Pillow takes no others for integer images.

        Raises
        ------
        RangeError
            If the source declares neither a range, nor bits, nor a dtype that implies
            one.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.Source("gray", range=(4095, 0)).black  # MONOCHROME1
        4095
        >>> gp.Source("RG", range=((0, 255), (-1.5, 1.5))).black
        (0, -1.5)
        """
        levels = tuple(_as_fill(black) for black, _ in self._pairs(None))
        if len(set(levels)) == 1:
            return levels[0]
        return levels

    # The generated __eq__ would treat sources with nodata=nan as unequal.
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._comparison_key() == other._comparison_key()

    def __hash__(self) -> int:
        return hash(self._comparison_key())

    def _repr_html_(self) -> str:
        """Return a table for notebooks: what is declared."""
        from .notebook import table

        rows = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                rows.append((field.name, value))
        return table("gp.Source", rows)

    def _comparison_key(self) -> tuple[object, ...]:
        """Return the fields, with NaN replaced by a value that equals itself."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["nodata"] = serialization.without_nan(self.nodata)
        return tuple(values.values())

    def _pairs(self, dtype: DTypeLike | None) -> tuple[Pair, ...]:
        """Return (black, white) of every band for images of ``dtype``.

        Parameters
        ----------
        dtype : dtype_like or None
            If None, the declared dtype is used.

        Raises
        ------
        DTypeError
            If ``dtype`` differs from the declared dtype.
        RangeError
            If the dtype does not imply a range, or cannot represent the declared one.
        """
        image_dtype = self._image_dtype(dtype)
        pairs = self._declared_pairs()
        if pairs is None:
            pairs = (self._implied_pair(image_dtype),) * len(self.bands)
        if image_dtype is not None:
            self._check_representable(image_dtype, pairs)
        return pairs

    def _accepts(self, dtype: DTypeLike) -> bool:
        """Return whether images of ``dtype`` can have the values of the source."""
        try:
            self._pairs(dtype)
        except (DTypeError, RangeError):
            return False
        return True

    @property
    def _declares_range(self) -> bool:
        """Whether the range is declared rather than implied by a dtype."""
        return self.range is not None or self.bits is not None

    @property
    def _nodata_values(self) -> tuple[float | None, ...]:
        """The nodata value of every band."""
        if isinstance(self.nodata, tuple):
            return self.nodata
        return (self.nodata,) * len(self.bands)

    def _declared_pairs(self) -> tuple[Pair, ...] | None:
        """Return the declared (black, white) of every band, or None."""
        if self.bits is not None:
            return ((0.0, 2.0**self.bits - 1),) * len(self.bands)
        if self.range is None or isinstance(self.range[0], tuple):
            return self.range
        return (self.range,) * len(self.bands)

    def _highest_integers(self, dtype: np.dtype[Any]) -> tuple[float, ...] | None:
        """Return the highest value that integers of every band may have, or None.

        Twice the white of ``bits``, or of the range (0, 1): an image with higher values
        has more bits than declared. Any other declared range is trusted.
        """
        if self.clip or dtype.kind not in "iu" or not self._declares_range:
            return None
        top = float(limits(dtype)[1])
        highest = []
        for black, white in self._pairs(dtype):
            is_depth = self.bits is not None or {black, white} == {0, 1}
            highest.append(min(top, 2 * max(black, white)) if is_depth else top)
        if min(highest) == top:
            return None
        return tuple(highest)

    def _undivided_bands(self, dtype: np.dtype[Any]) -> tuple[int, ...]:
        """Return the bands whose values an earlier step must not have divided.

        These are the bands of a declared range wider than 2, of floating images. A
        declared dtype states that such floats are stored values.
        """
        if not self._declares_range or dtype.kind != "f" or self.dtype is not None:
            return ()
        pairs = enumerate(self._pairs(dtype))
        return tuple(j for j, (black, white) in pairs if abs(white - black) > 2)

    def _check_not_divided(self, image: NDArray[Any]) -> None:
        """Raise RangeError if an earlier step has apparently divided an image.

        A plan makes this test itself. It is for images that are read and measured
        before a plan converts them.
        """
        bands = self._undivided_bands(image.dtype)
        if not bands:
            return
        # Imported here to keep `import graypipe` fast.
        from .engine.spec import AffineSpec
        from .engine.value_tests import check_values

        zeros = (0.0,) * len(self.bands)
        read_all = ((1.0,) * len(self.bands),)
        spec = AffineSpec(
            read_all, (0.0,), zeros, nodata=self.nodata, undivided_bands=bands
        )
        planes = layouts.conversion(self.layout, self.layout).source_planes(image)
        check_values(spec, image.dtype, planes, int(self.layout.startswith("N")))

    def _check_representable(
        self, dtype: np.dtype[Any], pairs: tuple[Pair, ...]
    ) -> None:
        """Raise RangeError if ``dtype`` cannot represent ``pairs`` or nodata."""
        values = [value for pair in pairs for value in pair]
        declared = [value for value in self._nodata_values if value is not None]
        values += [value for value in declared if not isnan(value)]
        for value in values:
            if not holds(dtype, value):
                low, high = limits(dtype)
                raise RangeError(
                    f"{dtype} can only represent {low} to {high}, but the source "
                    f"declares a black, white or nodata value of {value:g}: correct "
                    "range=, bits= or nodata=, or pass the image in its original "
                    "dtype; images of several dtypes need a plan each (gp.Plans)"
                )

    def _image_dtype(self, dtype: DTypeLike | None) -> np.dtype[Any] | None:
        """Return ``dtype``, or the declared dtype if it is None.

        Raise DTypeError if the two differ.
        """
        if dtype is None:
            return None if self.dtype is None else np.dtype(self.dtype)
        image_dtype = supported_dtype(dtype)
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


def _as_fill(level: float) -> float:
    """Return a whole number as an int."""
    if level.is_integer():
        return int(level)
    return level


def _validate_layout(layout: str | None, bands: tuple[str, ...]) -> str:
    """Return the declared layout, or the default for this number of bands."""
    if layout is None:
        return "HW" if len(bands) == 1 else "HWC"
    layout = layouts.parse(layout)
    layouts.check_band_axis(layout, len(bands), f"a source of {format_bands(bands)}")
    return layout


def _validate_bits(bits: Any, range: object) -> int | None:
    """Return the declared bit depth, which cannot be combined with ``range``."""
    if bits is None:
        return None
    if range is not None:
        raise RangeError(
            "expected bits= or range=, got both: declare one of them; in "
            "dataclasses.replace(source, range=...), pass bits=None too"
        )
    is_integer = isinstance(bits, int | np.integer) and not isinstance(bits, bool)
    if not is_integer or not 1 <= bits <= 64:
        raise RangeError(
            f"expected bits to be an integer from 1 to 64, got {describe_value(bits)}"
        )
    return int(bits)


def _validate_range(declared: Any, count: int) -> Pair | tuple[Pair, ...] | None:
    """Return one pair, or one pair per band if they differ."""
    if declared is None:
        return None
    name = "the range (black, white)"
    if not is_ordered_iterable(declared):
        if isinstance(declared, int | float) and not isinstance(declared, bool):
            raise RangeError(
                f"expected {name}, got {describe_value(declared)} alone: write "
                f"range=(0, {describe_value(declared)})"
            )
        return as_pair(declared, name)
    parts = list(declared)  # a generator can be iterated over only once
    if not all(is_ordered_iterable(part) for part in parts):
        return as_pair(parts, name)
    if len(parts) != count:
        raise ChannelError(
            f"expected range to be one (black, white), or {count} pairs, one per band, "
            f"got {len(parts)}"
        )
    pairs = tuple(as_pair(part, name) for part in parts)
    if len(set(pairs)) == 1:
        return pairs[0]
    return pairs


def _validate_clip(clip: object) -> bool:
    """Return ``clip`` as a bool; reject numbers, which could be mistaken for bounds."""
    if not isinstance(clip, bool | np.bool_):
        raise RangeError(
            f"expected clip to be True or False, got {describe_value(clip)}: the clip "
            "bounds are given by range="
        )
    return bool(clip)


def _validate_nodata(
    declared: Any, count: int
) -> float | tuple[float | None, ...] | None:
    """Return one nodata value, or one per band if they are declared separately."""
    if not is_ordered_iterable(declared):
        return _validate_nodata_value(declared)
    values = tuple(_validate_nodata_value(value) for value in declared)
    check_nodata_count(len(values), count)
    if all(value is None for value in values):
        return None
    if count == 1:
        return values[0]
    return values


def _validate_nodata_value(value: Any) -> float | None:
    """Return a float, or an int if float64 cannot represent the value exactly."""
    if value is None:
        return None
    if isinstance(value, float | np.floating) and isnan(value):
        return nan
    number = as_finite_float(value, "nodata")
    if isinstance(value, int | np.integer) and int(number) != value:
        return int(value)
    return number
