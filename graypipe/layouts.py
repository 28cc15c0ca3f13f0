"""Layouts: which axis of an array is what, and how one layout becomes another.

A layout is a string of the letters N (batch), T (time), D (depth), H, W and C (bands), each at most once, H and W
always. C may stand anywhere; the other letters keep their relative order from source to target, so an image is never
transposed by accident and every case is one walk over pixels in the same order on both sides.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ChannelError, GraypipeError, LayoutError

LETTERS = "NTDHWC"


def parse(layout: str) -> str:
    """Return ``layout`` if it is one; raise LayoutError otherwise."""
    if not isinstance(layout, str):
        raise LayoutError(f"a layout is a string such as 'HWC', got {layout!r}")
    if (
        set(layout) - set(LETTERS)
        or len(set(layout)) != len(layout)
        or not {"H", "W"} <= set(layout)
    ):
        raise LayoutError(
            f"a layout holds letters of {LETTERS}, each at most once, H and W always "
            f"(such as 'HW', 'HWC', 'NCHW'), got {layout!r}"
        )
    return str.__str__(layout)


def check_bands(layout: str, count: int, what: str) -> None:
    """Raise LayoutError when ``layout`` has no C although there are several bands."""
    if "C" not in layout and count != 1:
        raise LayoutError(
            f"{what} has {count} bands, but its layout {layout!r} has no C: say where the bands lie"
        )


def with_bands(layout: str) -> str:
    """Return ``layout``, plus a trailing C where it had none."""
    return layout if "C" in layout else layout + "C"


class LayoutConversion:
    """How arrays of one layout are read and arrays of another are written, pixel by pixel in the same order.

    ``target`` is the layout of the output, whole: letters the declared one lacked stand in front. ``source_order`` and
    ``target_order`` transpose arrays to planes, (bands, *pixels); None where a layout has no band axis.
    """

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.source_order = _bands_first(source)
        self.target_order = _bands_first(target)
        self._target_back = (
            None
            if self.target_order is None
            else tuple(np.argsort(self.target_order).tolist())
        )

    def source_planes(self, image: NDArray[Any]) -> NDArray[Any]:
        """View ``image`` as (bands, *pixels)."""
        return (
            image[None]
            if self.source_order is None
            else image.transpose(self.source_order)
        )

    def from_planes(self, planes: NDArray[Any]) -> NDArray[Any]:
        """View (bands, *pixels) as an array of the target layout."""
        return (
            planes[0]
            if self.target_order is None
            else planes.transpose(self._target_back)
        )

    def plane_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of `source_planes` for an array of ``shape``."""
        return (
            (1, *shape)
            if self.source_order is None
            else tuple(shape[axis] for axis in self.source_order)
        )

    def target_shape(self, shape: tuple[int, ...], count: int) -> tuple[int, ...]:
        """Return the shape of an output of ``count`` bands for a source array of ``shape``."""
        pixels, at = self.plane_shape(shape)[1:], self.target.find("C")
        return pixels if at < 0 else (*pixels[:at], count, *pixels[at:])


@cache
def conversion(source: str, target: str) -> LayoutConversion:
    """Return the walk from arrays of layout ``source`` to arrays of layout ``target``.

    Letters that the source has and the target lacks are kept in front: THW under CHW gives TCHW. Raises LayoutError
    where the target has a letter other than C that the source lacks, or where letters would have to change places.
    """
    extra = [letter for letter in target if letter != "C" and letter not in source]
    if extra:
        raise LayoutError(
            f"the target layout {target!r} has {extra[0]}, which the source layout {source!r} lacks: "
            f"declare it in the source, or leave it out of the target"
            + (" and call plan.batch" if extra[0] == "N" else "")
        )
    full = (
        "".join(letter for letter in source if letter != "C" and letter not in target)
        + target
    )
    pixels, written = source.replace("C", ""), full.replace("C", "")
    if pixels != written:
        raise LayoutError(
            f"source layout {source!r} and target layout {target!r} disagree on the order of {pixels!r} "
            f"({written!r}): only C may move; transpose the image itself first"
        )
    return LayoutConversion(source, full)


def _bands_first(layout: str) -> tuple[int, ...] | None:
    at = layout.find("C")
    if at < 0:
        return None
    return (at, *(axis for axis in range(len(layout)) if axis != at))


def describe(layout: str, shape: tuple[int, ...]) -> str:
    """Return ``shape`` with its letters, as in 'H=480 W=640 C=3'."""
    return " ".join(
        f"{letter}={size}" for letter, size in zip(layout, shape, strict=True)
    )


def check_shape(shape: tuple[int, ...], layout: str, count: int) -> None:
    """Raise LayoutError or ChannelError unless an array of ``shape`` can be of ``layout`` with ``count`` bands."""
    at = layout.find("C")
    if len(shape) != len(layout) or (at >= 0 and shape[at] != count):
        raise _mismatch(shape, layout, count)


def _mismatch(shape: tuple[int, ...], layout: str, count: int) -> GraypipeError:
    expected = f"expected layout {layout!r} with {count} band{'s' if count > 1 else ''}"
    if len(shape) == len(layout):
        pixels = layout.replace("C", "")
        moved = "C" + pixels if layout != "C" + pixels else pixels + "C"
        other = (
            f"; where the axes are {moved!r}, declare that layout"
            if count in (shape[0], shape[-1])
            else ""
        )
        return ChannelError(  # type: ignore[no-any-return]  # its constructor is that of Exception
            f"{expected}, got {describe(layout, shape)} (shape {shape}): declare the bands that are there, "
            f"or pick them first with gp.select{other}"
        )
    readings = [
        f"{reading} ({describe(reading, shape)}): {cure}"
        for reading, cure in _readings(layout, len(shape))
    ]
    hint = (
        " It can be read as " + "; or as ".join(readings) + "."
        if readings
        else " Declare the layout it has."
    )
    return LayoutError(  # type: ignore[no-any-return]
        f"{expected}, {len(layout)} axes, got {len(shape)} axes of shape {shape}.{hint}"
    )


def _readings(layout: str, axes: int) -> list[tuple[str, str]]:
    """Return the layouts an array of one axis more or less may have had in mind, each with what to do then."""
    pixels = layout.replace("C", "")
    declare = "declare layout={!r} (with as many bands)"
    found = []
    if axes == len(layout) + 1:
        if "N" not in layout:
            found.append(
                (
                    "N" + layout,
                    f"a batch; plan.batch takes it, or declare layout={'N' + layout!r}",
                )
            )
        if "C" not in layout:
            found += [
                (pixels + "C", declare.format(pixels + "C")),
                ("C" + pixels, declare.format("C" + pixels)),
            ]
    if axes == len(layout) - 1:
        if "C" in layout:
            found.append((pixels, f"one band; declare layout={pixels!r}"))
        if "N" in layout:
            found.append(
                (
                    layout.replace("N", ""),
                    "no batch; call the plan itself, or declare that layout",
                )
            )
    return found
