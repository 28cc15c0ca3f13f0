"""Layouts, which name the axes of an array, and conversions between them.

A layout is a string of the letters N (batch), T (time), D (depth), H, W and C (bands).
Each occurs at most once; H and W are required. C may be anywhere. All other axes must
have the same order in the source and in the target, so an image is never transposed by
accident, and a conversion visits the pixels of both arrays in the same order.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ChannelError, LayoutError
from .messages import describe_value

LETTERS = "NTDHWC"


def parse(layout: str) -> str:
    """Return ``layout`` if it is valid.

    Raises
    ------
    LayoutError
        If ``layout`` is not a string of distinct `LETTERS` that includes H and W.
    """
    if not isinstance(layout, str):
        advice = ""
        if isinstance(layout, int):
            advice = f": declare a bit depth as bits={describe_value(layout)}"
        raise LayoutError(
            f"expected a layout string such as 'HWC', got {describe_value(layout)}"
            f"{advice}"
        )
    letters = set(layout)
    distinct = len(letters) == len(layout)
    if not distinct or not letters <= set(LETTERS) or not {"H", "W"} <= letters:
        raise LayoutError(
            f"expected a layout of distinct letters from {LETTERS} that includes H and "
            f"W (such as 'HW', 'HWC' or 'NCHW'), got {describe_value(layout)}"
        )
    return str.__str__(layout)  # a member of a string Enum becomes a plain string


def check_band_axis(layout: str, count: int, subject: str) -> None:
    """Raise LayoutError if ``layout`` has no C but there are several bands.

    Parameters
    ----------
    layout : str
    count : int
        Number of bands.
    subject : str
        Subject of the error message, such as ``"a source of 'RGB'"``.
    """
    if "C" not in layout and count != 1:
        raise LayoutError(
            f"{subject} has {count} bands, but its layout {layout!r} has no C: add the "
            "band axis to the layout"
        )


def with_bands(layout: str) -> str:
    """Return ``layout``, with C appended if it has no band axis."""
    if "C" in layout:
        return layout
    return layout + "C"


class LayoutConversion:
    """Mapping between the axes of a source layout and of a target layout.

    Arrays of both layouts can be viewed as planes, that is, with the shape
    ``(bands, *pixels)``. The pixel axes of both views have the same order.

    Parameters
    ----------
    source_layout : str
        Layout of the input.
    target_layout : str
        Layout of the output, including leading axes copied from the source layout.

    Attributes
    ----------
    source_order, target_order : tuple of int or None
        Arguments of `numpy.transpose` that move C to the front, or None if the layout
        has no C.
    """

    def __init__(self, source_layout: str, target_layout: str) -> None:
        self.source_layout = source_layout
        self.target_layout = target_layout
        self.source_order = _bands_first(source_layout)
        self.target_order = _bands_first(target_layout)
        self._inverse_target_order: tuple[int, ...] | None = None
        if self.target_order is not None:
            self._inverse_target_order = tuple(np.argsort(self.target_order).tolist())

    def source_planes(self, image: NDArray[Any]) -> NDArray[Any]:
        """View ``image``, an array of the source layout, as ``(bands, *pixels)``."""
        if self.source_order is None:
            return image[None]
        return image.transpose(self.source_order)

    def from_planes(self, planes: NDArray[Any]) -> NDArray[Any]:
        """View ``planes``, of shape ``(bands, *pixels)``, in the target layout."""
        if self.target_order is None:
            plane: NDArray[Any] = planes[0]
            return plane
        return planes.transpose(self._inverse_target_order)

    def plane_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of `source_planes` for an array of ``shape``."""
        if self.source_order is None:
            return (1, *shape)
        return tuple(shape[axis] for axis in self.source_order)

    def target_shape(self, shape: tuple[int, ...], count: int) -> tuple[int, ...]:
        """Return the shape of the output.

        Parameters
        ----------
        shape : tuple of int
            Shape of an array of the source layout.
        count : int
            Number of output bands.

        Returns
        -------
        tuple of int
        """
        _, *pixels = self.plane_shape(shape)
        if "C" in self.target_layout:
            pixels.insert(self.target_layout.index("C"), count)
        return tuple(pixels)


@cache
def conversion(source_layout: str, target_layout: str) -> LayoutConversion:
    """Return the conversion from ``source_layout`` to ``target_layout``.

    Axes of the source that the target does not have become leading axes: THW with the
    target CHW gives TCHW.

    Parameters
    ----------
    source_layout, target_layout : str
        Valid layouts.

    Returns
    -------
    LayoutConversion

    Raises
    ------
    LayoutError
        If the target has an axis, other than C, that the source does not have, or if
        the order of these axes differs.
    """
    missing = [letter for letter in target_layout if letter not in source_layout + "C"]
    if missing:
        hint = " and call plan.batch" if missing[0] == "N" else ""
        raise LayoutError(
            f"the target layout {target_layout!r} has {missing[0]}, which is not in "
            f"the source layout {source_layout!r}: add it there, or remove it from the "
            f"target layout{hint}"
        )
    leading = [letter for letter in source_layout if letter not in target_layout + "C"]
    full_target = "".join(leading) + target_layout
    source_pixels = source_layout.replace("C", "")
    target_pixels = full_target.replace("C", "")
    if source_pixels != target_pixels:
        raise LayoutError(
            f"the source layout {source_layout!r} has its axes in the order "
            f"{source_pixels!r}, but the target layout {target_layout!r} in the order "
            f"{target_pixels!r}: only C can be moved; transpose the image first"
        )
    return LayoutConversion(source_layout, full_target)


def _bands_first(layout: str) -> tuple[int, ...] | None:
    """Return the axes in the order that has C first, or None if there is no C."""
    band_axis = layout.find("C")
    if band_axis < 0:
        return None
    return (band_axis, *(axis for axis in range(len(layout)) if axis != band_axis))


def describe(layout: str, shape: tuple[int, ...]) -> str:
    """Return ``shape`` with the letter of each axis.

    Examples
    --------
    >>> describe("HWC", (480, 640, 3))
    'H=480 W=640 C=3'
    """
    return " ".join(
        f"{letter}={size}" for letter, size in zip(layout, shape, strict=True)
    )


def check_shape(shape: tuple[int, ...], layout: str, count: int) -> None:
    """Check that an array of ``shape`` can have ``layout`` with ``count`` bands.

    Raises
    ------
    LayoutError
        If the number of axes is not the number of letters of ``layout``.
    ChannelError
        If the size of the band axis is not ``count``.
    """
    if len(shape) != len(layout):
        raise LayoutError(_axes_message(shape, layout, count))
    if "C" in layout and shape[layout.index("C")] != count:
        raise ChannelError(_bands_message(shape, layout, count))


def _format_count(count: int) -> str:
    """Return ``count`` with its noun: "1 band" or "3 bands"."""
    if count == 1:
        return "1 band"
    return f"{count} bands"


def _bands_message(shape: tuple[int, ...], layout: str, count: int) -> str:
    """Return the message for a wrong size of the band axis."""
    pixels = layout.replace("C", "")
    other_layout = "C" + pixels
    if other_layout == layout:
        other_layout = pixels + "C"
    hint = ""
    if count in (shape[0], shape[-1]):
        hint = f"; if the axes are {other_layout!r}, declare that layout"
    return (
        f"expected layout {layout!r} with {_format_count(count)}, got "
        f"{describe(layout, shape)} (shape {shape}): declare the bands of the image, "
        f"or select bands first, for example with gp.select{hint}"
    )


def _axes_message(shape: tuple[int, ...], layout: str, count: int) -> str:
    """Return the message for a wrong number of axes, with every plausible layout."""
    hint = "Declare the layout of the image."
    alternatives = _alternative_layouts(layout, len(shape))
    for other in _single_band_layouts(layout, shape):
        # An axis of size 1 is most probably the band axis: list that layout first.
        alternatives = [each for each in alternatives if each[0] != other]
        alternatives.insert(0, (other, f"declare layout={other!r} in the Source"))
    if alternatives:
        interpretations = [
            f"{other} ({describe(other, shape)}): {advice}"
            for other, advice in alternatives
        ]
        hint = f"They can be read as {'; or as '.join(interpretations)}."
    return (
        f"expected {len(layout)} axes (layout {layout!r}, {_format_count(count)}), got "
        f"{len(shape)} axes of shape {shape}. {hint}"
    )


def _single_band_layouts(layout: str, shape: tuple[int, ...]) -> list[str]:
    """Return the layouts with C for ``shape`` if its first or last axis has size 1.

    The last of them is the most probable.
    """
    if "C" in layout or len(shape) != len(layout) + 1:
        return []
    layouts = []
    if shape[0] == 1:
        layouts.append("C" + layout)
    if shape[-1] == 1:
        layouts.append(layout + "C")
    return layouts


def _alternative_layouts(layout: str, axes: int) -> list[tuple[str, str]]:
    """Return the layouts with one axis more or less, each with advice."""
    pixels = layout.replace("C", "")
    alternatives = []
    if axes == len(layout) + 1 and "N" not in layout:
        batched = "N" + layout
        advice = f"call plan.batch, or declare layout={batched!r}"
        alternatives.append((batched, advice))
    if axes == len(layout) + 1 and "C" not in layout:
        alternatives.extend(
            (other, f"declare layout={other!r} and its bands")
            for other in (pixels + "C", "C" + pixels)
        )
    if axes == len(layout) - 1 and "C" in layout:
        alternatives.append((pixels, f"declare layout={pixels!r} and one band"))
    if axes == len(layout) - 1 and "N" in layout:
        single = layout.replace("N", "")
        advice = f"call the plan itself, or declare layout={single!r}"
        alternatives.append((single, advice))
    return alternatives
