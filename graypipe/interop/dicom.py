"""Derive the keywords of a `Source` from a DICOM data set read by pydicom.

The rules follow the DICOM standard: PS3.3 defines the attributes of an image and the
meaning of its stored values, and PS3.5 defines how the values are encoded in bits.
Comments name the sections.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import inf
from typing import Any

import numpy as np

from ..errors import ChannelError, DTypeError, RangeError
from ..validation import as_pair, is_ordered_iterable
from .rescale import (
    IDENTITY,
    Rescaling,
    parse_decimal,
    parse_rescaling,
    to_stored,
    widen_dtype,
)

# PhotometricInterpretation -> whether the lowest value is displayed as white
# (PS3.3 C.7.6.3.1.2).
INVERTED = {"MONOCHROME1": True, "MONOCHROME2": False}

# Linear VOI LUT function -> amount subtracted from the window width, and half of it
# from the window centre. For centre c and width w, LINEAR, the default
# (PS3.3 C.11.2.1.2.1), spans c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2;
# LINEAR_EXACT (PS3.3 C.11.2.1.3.2) spans c - w / 2 to c + w / 2.
WINDOW_NARROWING = {"LINEAR": Fraction(1), "LINEAR_EXACT": Fraction(0)}

# Elements that hold floating pixels instead of PixelData -> their dtype. Such an image
# has no BitsStored, HighBit or PixelRepresentation (PS3.3 C.7.6.24 and C.7.6.25).
FLOATING_PIXELS = {"FloatPixelData": "float32", "DoubleFloatPixelData": "float64"}

# The functional groups of each frame of an enhanced image (PS3.3 C.7.6.16).
FRAME_GROUPS = "PerFrameFunctionalGroupsSequence"

# The macro that contains windows in functional groups (PS3.3 C.7.6.16.2.10).
WINDOW_MACRO = "FrameVOILUTSequence"

# The value of ``window=`` for the first window of the data set, if it has one.
AUTO_WINDOW = "auto"

# Maximum length of a value of a data set in a message.
MAX_VALUE_LENGTH = 40

# Common ending of error messages.
DECLARE_SOURCE = "or declare the gp.Source explicitly"


def source_keywords(
    dataset: Any, window: Any, *, has_range: bool = False
) -> dict[str, Any]:
    """Return the keywords of the source that describes ``dataset.pixel_array``.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A data set with an image, or any object with its attributes.
    window : pair of float, int, "auto" or None
        The bounds of a window in rescaled values; the index of a window in the data
        set; its first window, or the whole range if it has none; or None for the whole
        range of the stored bits.
    has_range : bool, default False
        Whether the range of the source is declared elsewhere, so that CT images need no
        window.

    Returns
    -------
    dict
        Keyword arguments for `Source`.

    Raises
    ------
    ChannelError
        If the photometric interpretation is not grayscale or RGB.
    DTypeError
        If the bits of the stored values are declared inconsistently.
    RangeError
        If an attribute is missing or invalid, or if a source cannot express it, such as
        a lookup table or a range of padding values. Also if a CT image has no window.

    See Also
    --------
    graypipe.Source.from_dicom : The public interface, with the rules in detail.
    """
    low, high, dtype = stored_limits(dataset)
    # pydicom returns the frames of a multi-frame image on a leading axis.
    frames = ""
    if _integer(dataset, "NumberOfFrames", 1) > 1:
        frames = "N"
    interpretation = _get(dataset, "PhotometricInterpretation")
    samples = _integer(dataset, "SamplesPerPixel")
    if interpretation == "RGB" and samples == 3:
        # Modality LUT (PS3.3 C.11.1), VOI LUT (C.11.2) and pixel padding (C.7.5.1.1.2)
        # are defined for grayscale images only.
        if window is not None and not _is_auto(window):
            raise RangeError(
                "a window applies to gray images, but this image is RGB: omit window="
            )
        return {
            "bands": "RGB",
            "layout": f"{frames}HWC",
            "dtype": dtype,
            "range": (low, high),
        }
    if interpretation not in INVERTED or samples != 1:
        raise ChannelError(
            "expected MONOCHROME1 or MONOCHROME2 with one sample per pixel, or RGB "
            f"with three, got {_shorten(interpretation)} with {samples}: convert the "
            "pixels to RGB (pydicom.pixels.apply_color_lut for a palette, "
            "convert_color_space for YBR), and declare the gp.Source explicitly"
        )
    if _is_auto(window):
        window = _first_window(dataset)
    if window is None and not has_range:
        _check_window_is_optional(dataset)
    black_white = _gray_range(dataset, window, (low, high))
    dtype = widen_dtype(dtype, (low, high, *black_white))
    if INVERTED[interpretation]:
        black_white = black_white[::-1]
    return {
        "layout": f"{frames}HW",
        "dtype": dtype,
        "range": black_white,
        "clip": window is not None,
        "nodata": _padding_value(dataset, low, high),
    }


def stored_limits(dataset: Any) -> tuple[float, float, str]:
    """Return the lowest and highest stored value, and the dtype of ``pixel_array``.

    The limits of floating pixels are infinite.
    """
    for name, floating_dtype in FLOATING_PIXELS.items():
        if _get(dataset, name) is not None:
            return -inf, inf, floating_dtype
    if _get(dataset, "BitsAllocated") is None:
        raise RangeError(
            f"expected a data set with pixels, got a {type(dataset).__name__} without "
            "BitsAllocated, such as a plan, a report or a directory: pass an image "
            f"read by pydicom.dcmread, {DECLARE_SOURCE}"
        )
    allocated = _integer(dataset, "BitsAllocated")
    # If BitsStored is missing, all bits of the dtype count, as for any other array.
    bits = _integer(dataset, "BitsStored", allocated)
    signed = _integer(dataset, "PixelRepresentation")
    high_bit = _integer(dataset, "HighBit", bits - 1)
    valid_bits = allocated in (1, 8, 16, 32, 64) and 1 <= bits <= allocated
    if not valid_bits or signed not in (0, 1):
        raise DTypeError(
            "expected BitsAllocated in (1, 8, 16, 32, 64), BitsStored from 1 to "
            f"BitsAllocated and PixelRepresentation in (0, 1), got {allocated}, {bits} "
            f"and {signed}: correct the data set, {DECLARE_SOURCE}"
        )
    # PS3.5 8.1.1 requires this. Older files may store the values in higher bits.
    if high_bit != bits - 1:
        raise RangeError(
            f"expected a HighBit of {bits - 1} for {bits} BitsStored, got {high_bit}, "
            "so the stored values are shifted: shift them back and correct the data "
            f"set, {DECLARE_SOURCE}"
        )
    # pydicom unpacks single bits into bytes.
    width = max(allocated, 8)
    if signed:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, f"int{width}"
    return 0, 2**bits - 1, f"uint{width}"


def _is_auto(window: Any) -> bool:
    """Return whether ``window`` is "auto"; a pair may be an array."""
    return isinstance(window, str) and window == AUTO_WINDOW


def _first_window(dataset: Any) -> int | None:
    """Return the index of the first window, or None if the data set has no window."""
    if _common_attribute(dataset, WINDOW_MACRO, "WindowCenter") is None:
        return None
    return 0


def _check_window_is_optional(dataset: Any) -> None:
    """Raise RangeError for a CT image.

    Its stored bits reach far beyond the values of tissue, so that their whole range
    would turn the image into nearly uniform gray.
    """
    if _get(dataset, "Modality") == "CT":
        raise RangeError(
            "a CT image needs a window, because its bits do not say what is black and "
            "white: pass bounds in Hounsfield units, such as window=(-160, 240) for "
            "soft tissue, or window='auto' if the file has a window"
        )


def _gray_range(
    dataset: Any, window: Any, limits: tuple[float, float]
) -> tuple[float, ...]:
    """Return the stored values displayed as darkest and brightest.

    The inversion of MONOCHROME1 is not applied.
    """
    rescaling = _rescaling(dataset)
    if window is not None:
        return to_stored(_window_bounds(dataset, window), rescaling)
    if limits == (-inf, inf):
        raise RangeError(
            "floating pixels do not imply black and white: pass both in rescaled "
            "values, such as window=(0, 100)"
        )
    if rescaling.slope < 0:
        return limits[::-1]
    return limits


def _rescaling(dataset: Any) -> Rescaling:
    """Return the rescaling that all frames have in common (PS3.3 C.11.1)."""
    if _get(dataset, "ModalityLUTSequence"):
        raise RangeError(
            "a ModalityLUTSequence is a lookup table, not a slope and an intercept: "
            "apply it (pydicom.pixels.apply_modality_lut) and declare the result, "
            "gp.Source('gray', range=...)"
        )
    # The macro that contains both in functional groups: PS3.3 C.7.6.16.2.9.
    macro = "PixelValueTransformationSequence"
    slope = _common_attribute(dataset, macro, "RescaleSlope")
    intercept = _common_attribute(dataset, macro, "RescaleIntercept")
    if (slope is None) != (intercept is None):
        raise RangeError(
            "expected RescaleSlope and RescaleIntercept together, got "
            f"{_shorten(slope)} and {_shorten(intercept)}: add the missing attribute, "
            f"{DECLARE_SOURCE}"
        )
    if slope is None:
        return IDENTITY
    return parse_rescaling(slope, intercept, "the rescaling")


def _window_bounds(dataset: Any, window: Any) -> tuple[Fraction, Fraction]:
    """Return the bounds of a window in rescaled values, for a pair or an index."""
    if is_ordered_iterable(window):
        low, high = as_pair(window, "window=")
        return parse_decimal(low, "window="), parse_decimal(high, "window=")
    # bool is a subclass of int, but window=True is a mistake.
    if isinstance(window, bool) or not isinstance(window, int | np.integer):
        raise RangeError(
            "expected window= to be a pair of rescaled values, the index of a window "
            f"in the data set or 'auto', got {window!r}"
        )
    centers = _values(_common_attribute(dataset, WINDOW_MACRO, "WindowCenter"))
    widths = _values(_common_attribute(dataset, WINDOW_MACRO, "WindowWidth"))
    function = _common_attribute(dataset, WINDOW_MACRO, "VOILUTFunction")
    table = _common_attribute(dataset, WINDOW_MACRO, "VOILUTSequence")
    if len(centers) != len(widths) or not 0 <= window < len(centers):
        advice = "pass the bounds in rescaled values, such as window=(-160, 240)"
        if table:
            advice = (
                "apply its VOILUTSequence with pydicom.pixels.apply_voi_lut, or "
                f"{advice}"
            )
        raise RangeError(
            f"window index {window} is out of range: the data set has {len(centers)} "
            f"WindowCenter and {len(widths)} WindowWidth values (indices start at 0): "
            f"{advice}"
        )
    return _apply_window_function(
        function or "LINEAR",
        parse_decimal(centers[window], "WindowCenter"),
        parse_decimal(widths[window], "WindowWidth"),
    )


def _apply_window_function(
    function: str, center: Fraction, width: Fraction
) -> tuple[Fraction, Fraction]:
    """Return the values that a linear VOI LUT function maps to black and to white."""
    if function not in WINDOW_NARROWING:
        raise RangeError(
            f"expected a VOILUTFunction of {' or '.join(WINDOW_NARROWING)}, got "
            f"{_shorten(function)}, which is not linear: apply it with "
            "pydicom.pixels.apply_voi_lut, or pass the bounds of a linear window, "
            "such as window=(-160, 240)"
        )
    narrowing = WINDOW_NARROWING[function]
    if width <= narrowing:
        raise RangeError(
            f"expected the WindowWidth of a {function} window to be wider than "
            f"{narrowing}, got {float(width):g}: pass the bounds in rescaled values, "
            "such as window=(-160, 240)"
        )
    center = center - narrowing / 2
    half_width = (width - narrowing) / 2
    return center - half_width, center + half_width


def _padding_value(dataset: Any, low: float, high: float) -> float | None:
    """Return the stored value of padding pixels, or None if there is none.

    PS3.3 C.7.5.1.1.2 defines it. Images with floating pixels have attributes of other
    names for it (PS3.3 C.7.6.24), which are not supported.
    """
    for name in ("FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue"):
        if _get(dataset, name) is not None:
            raise RangeError(
                f"{name} is not supported: declare the gp.Source explicitly, with "
                "nodata= as this value"
            )
    if _get(dataset, "PixelPaddingValue") is None:
        return None
    value = _integer(dataset, "PixelPaddingValue")
    range_limit = _integer(dataset, "PixelPaddingRangeLimit", value)
    if range_limit != value:
        raise RangeError(
            f"padding is a range of values, {value} to {range_limit}, but a source can "
            "declare only one nodata value: set those pixels to one value and declare "
            "the gp.Source explicitly"
        )
    # pydicom masks all bits above BitsStored, so no pixel would equal such a value.
    if not low <= value <= high:
        raise RangeError(
            f"expected a PixelPaddingValue within the range of stored values, {low} to "
            f"{high}, got {value}: correct or delete it, {DECLARE_SOURCE}"
        )
    return value


def _common_attribute(dataset: Any, macro: str, name: str) -> Any:
    """Return an attribute that has the same value for all frames, or None if missing.

    An enhanced multi-frame image stores the attribute in a functional group per frame
    or in a shared functional group (PS3.3 C.7.6.16). Other images store it in the data
    set itself.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The image.
    macro : str
        Name of the sequence in a functional group that contains the attribute.
    name : str
        Keyword of the attribute.

    Returns
    -------
    object
        The value; per-frame values take precedence over shared ones.

    Raises
    ------
    RangeError
        If the frames have different values.
    """
    shared_groups = _items([dataset], "SharedFunctionalGroupsSequence")
    shared = _items(shared_groups, macro)
    groups = _items([dataset], FRAME_GROUPS)
    groups_per_frame = [[group] for group in groups]
    if not groups_per_frame:
        # An image without functional groups is treated as a single frame.
        groups_per_frame = [[]]
    values = []
    for frame_groups in groups_per_frame:
        datasets = [*_items(frame_groups, macro), *shared, dataset]
        values.append(_first_value(datasets, name))
    if any(value != values[0] for value in values[1:]):
        raise RangeError(
            f"the frames differ in {name}, but a source describes all frames: split "
            "them and declare a gp.Source for each explicitly"
        )
    return values[0]


def _items(datasets: Iterable[Any], sequence: str) -> list[Any]:
    """Return the items of a sequence attribute in all ``datasets``."""
    items: list[Any] = []
    for dataset in datasets:
        items += _get(dataset, sequence, ())
    return items


def _first_value(datasets: Iterable[Any], name: str) -> Any:
    """Return an attribute of the first data set that has it, or None."""
    for dataset in datasets:
        value = _get(dataset, name)
        if value is not None:
            return value
    return None


def _get(dataset: Any, name: str, default: Any = None) -> Any:
    """Return an attribute, or ``default`` if it is missing or empty."""
    value = getattr(dataset, name, None)
    # pydicom reads an element without a value as None or as an empty string.
    if value is None or value == "":
        return default
    return value


def _integer(dataset: Any, name: str, default: int | None = None) -> int:
    """Return an attribute as an int, or raise RangeError if it is not one."""
    value = _get(dataset, name, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise RangeError(
            f"expected {name} to be an integer, got {_shorten(repr(value))} in a "
            f"{type(dataset).__name__}: pass a data set with integer pixels, read by "
            f"pydicom.dcmread, correct the attribute, {DECLARE_SOURCE}"
        ) from None


def _values(value: Any) -> list[Any]:
    """Return the values of an attribute that may have none, one or several."""
    if value is None:
        return []
    if is_ordered_iterable(value):
        return list(value)
    return [value]


def _shorten(value: object) -> str:
    """Return a value of a data set for a message; a damaged one may be long."""
    text = str(value)
    if len(text) <= MAX_VALUE_LENGTH:
        return text
    return f"{text[:MAX_VALUE_LENGTH]}..."
