"""DICOM: what the attributes of an image say its stored pixels mean. PS3.3 is the part of the standard that says so."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import ChannelError, DTypeError, RangeError
from ..validation import is_sequence, pair
from .rescale import UNSCALED, Line, exact, line, to_stored, wide_enough

BY_HAND = "or write the gp.Source by hand"

LEAST_IS_WHITE = {"MONOCHROME1": True, "MONOCHROME2": False}
"""PS3.3, C.7.6.3.1.2."""

WINDOWS = {"LINEAR": Fraction(1), "LINEAR_EXACT": Fraction(0)}
"""What a function takes off the width, and half of it off the centre: PS3.3, C.11.2.1.2.1 and C.11.2.1.3.2."""


def fields(dataset: Any, window: Any) -> dict[str, Any]:
    """Return the fields of the source that ``dataset.pixel_array`` is; see `Source.from_dicom`."""
    low, high, dtype = _integers(dataset)
    frames = "N" if _integer(dataset, "NumberOfFrames", 1) > 1 else ""
    kind, samples = (
        _get(dataset, "PhotometricInterpretation"),
        _integer(dataset, "SamplesPerPixel"),
    )
    if (kind, samples) == (
        "RGB",
        3,
    ):  # rescaling, windows and padding are for gray alone: C.11.1, C.11.2, C.7.5.1.1.2
        if window is not None:
            raise RangeError(
                "a window is for gray images, and this one is RGB: leave window= away"
            )
        return {
            "bands": "RGB",
            "layout": f"{frames}HWC",
            "dtype": dtype,
            "range": (low, high),
        }
    if kind not in LEAST_IS_WHITE or samples != 1:
        raise ChannelError(
            f"expected MONOCHROME1 or MONOCHROME2 with one sample a pixel, or RGB with three, got {kind} with "
            f"{samples}: make the pixels RGB (pydicom.pixels.apply_color_lut for a palette, convert_color_space for "
            f"YBR), and write the gp.Source by hand"
        )
    ends = _ends(dataset, window, (low, high))
    return {
        "layout": f"{frames}HW",
        "dtype": wide_enough(dtype, (low, high, *ends)),
        "range": ends[::-1] if LEAST_IS_WHITE[kind] else ends,
        "clip": window is not None,
        "nodata": _padding(dataset, low, high),
    }


def _integers(dataset: Any) -> tuple[int, int, str]:
    """Return the least and the greatest integer of the stored bits, and the dtype in which pydicom hands them out."""
    bits, allocated = (
        _integer(dataset, "BitsStored"),
        _integer(dataset, "BitsAllocated"),
    )
    signed, highest = (
        _integer(dataset, "PixelRepresentation"),
        _integer(dataset, "HighBit", bits - 1),
    )
    if (
        allocated not in (1, 8, 16, 32, 64)
        or not 1 <= bits <= allocated
        or signed not in (0, 1)
    ):
        raise DTypeError(
            f"expected 1, 8, 16, 32 or 64 BitsAllocated, at most as many BitsStored, and a PixelRepresentation of 0 or "
            f"1, got {allocated}, {bits} and {signed}: correct the data set {BY_HAND}"
        )
    if highest != bits - 1:
        raise RangeError(
            f"{bits} BitsStored end at a HighBit of {bits - 1}, got {highest}, so the stored values are shifted: shift "
            f"them back and correct the data set {BY_HAND}"
        )
    dtype = f"{'' if signed else 'u'}int{max(allocated, 8)}"
    return (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, dtype)
        if signed
        else (0, 2**bits - 1, dtype)
    )


def _ends(dataset: Any, window: Any, whole: tuple[int, int]) -> tuple[float, ...]:
    """Return the stored values of the least and of the greatest rescaled value that count."""
    rescaling = _rescaling(dataset)
    if window is None:
        return whole if rescaling[0] > 0 else whole[::-1]
    return to_stored(_window(dataset, window), rescaling)


def _rescaling(dataset: Any) -> Line:
    """Return slope and intercept of all frames: PS3.3, C.11.1."""
    if _get(dataset, "ModalityLUTSequence"):
        raise RangeError(
            "a ModalityLUTSequence is a table, no slope and intercept: apply it (pydicom.pixels.apply_modality_lut) "
            "and declare what comes out, gp.Source('gray', range=...)"
        )
    names = ("RescaleSlope", "RescaleIntercept")
    slope, intercept = (
        _of_all_frames(dataset, "PixelValueTransformationSequence", name)
        for name in names
    )
    if (slope is None) != (intercept is None):
        raise RangeError(
            f"{' and '.join(names)} come together, got {slope} and {intercept}: add what is missing {BY_HAND}"
        )
    return UNSCALED if slope is None else line(slope, intercept, "the rescaling")


def _window(dataset: Any, window: Any) -> tuple[Fraction, Fraction]:
    """Return the rescaled values at the ends of ``window``: a pair of them, or the index of one in the data set."""
    if is_sequence(window):
        low, high = pair(window, "window=")
        return exact(low, "window="), exact(high, "window=")
    if isinstance(window, bool) or not isinstance(window, int | np.integer):
        raise RangeError(
            f"window= is a pair of rescaled values, or the index of a window in the data set, got {window!r}"
        )
    names = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
    center, width, function, table = (
        _of_all_frames(dataset, "FrameVOILUTSequence", name) for name in names
    )
    centers, widths = _several(center), _several(width)
    if len(centers) != len(widths) or not 0 <= window < len(centers):
        hint = (
            "apply its VOILUTSequence with pydicom.pixels.apply_voi_lut"
            if table
            else "count from 0"
        )
        raise RangeError(
            f"no window {window} in a data set of {len(centers)} WindowCenter and {len(widths)} WindowWidth: {hint}, "
            f"or pass the ends in rescaled values, window=(-160, 240)"
        )
    return _of_function(
        function or "LINEAR",
        exact(centers[window], names[0]),
        exact(widths[window], names[1]),
    )


def _of_function(
    function: str, center: Fraction, width: Fraction
) -> tuple[Fraction, Fraction]:
    if function not in WINDOWS:
        raise RangeError(
            f"expected a VOILUTFunction of {' or '.join(WINDOWS)}, got {function}, which is no straight line: apply it "
            f"with pydicom.pixels.apply_voi_lut, or pass the ends of a linear window, window=(-160, 240)"
        )
    less = WINDOWS[function]
    if width <= less:
        raise RangeError(
            f"a {function} window is wider than {less}, got a WindowWidth of {float(width):g}: pass the ends in "
            f"rescaled values, window=(-160, 240)"
        )
    middle, half = center - less / 2, (width - less) / 2
    return middle - half, middle + half


def _padding(dataset: Any, low: int, high: int) -> int | None:
    """Return the stored value of pixels that are no part of the image, None where there is none: PS3.3, C.7.5.1.1.2."""
    if _get(dataset, "PixelPaddingValue") is None:
        return None
    value = _integer(dataset, "PixelPaddingValue")
    limit = _integer(dataset, "PixelPaddingRangeLimit", value)
    if limit != value:
        raise RangeError(
            f"the padding is every value from {value} to {limit}, and a source has one nodata value: set those pixels "
            f"to one and write the gp.Source by hand"
        )
    if (
        not low <= value <= high
    ):  # pydicom keeps the stored bits of a pixel alone, so that none equals it
        raise RangeError(
            f"a PixelPaddingValue of {value} is none of the stored {low} to {high}: correct it, delete it, {BY_HAND}"
        )
    return value


def _of_all_frames(dataset: Any, macro: str, name: str) -> Any:
    """Return what holds for all frames: each takes it from its own functional group, the shared one or the data set."""
    shared = _items(_items([dataset], "SharedFunctionalGroupsSequence"), macro)
    frames = _items([dataset], "PerFrameFunctionalGroupsSequence") or [None]
    said = [
        _first([*_items([frame], macro), *shared, dataset], name) for frame in frames
    ]
    if any(value != said[0] for value in said[1:]):
        raise RangeError(
            f"the frames differ in {name}, and a source says one thing of all: take them apart and write the gp.Source "
            f"of each by hand"
        )
    return said[0]


def _items(parents: Iterable[Any], sequence: str) -> list[Any]:
    return [item for parent in parents for item in _get(parent, sequence, ())]


def _first(places: Iterable[Any], name: str) -> Any:
    return next(
        (found for place in places if (found := _get(place, name)) is not None), None
    )


def _get(dataset: Any, name: str, default: Any = None) -> Any:
    value = getattr(dataset, name, None)
    return (
        default if value is None or value == "" else value
    )  # pydicom reads an empty element as one or the other


def _integer(dataset: Any, name: str, default: int | None = None) -> int:
    value = _get(dataset, name, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise RangeError(
            f"expected an integer {name} in an image of integers, as pydicom.dcmread returns it, got {value!r} in a "
            f"{type(dataset).__name__}: correct it {BY_HAND}"
        ) from None


def _several(value: Any) -> list[Any]:
    return [] if value is None else list(value) if is_sequence(value) else [value]
