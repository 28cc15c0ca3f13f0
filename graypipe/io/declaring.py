"""The source of an image that was read: what the file states and what the keywords declare, checked against it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .. import bands as names
from .. import layouts
from ..errors import RangeError, ReadError
from ..source import Source

if TYPE_CHECKING:
    from .decoded import Stored


def declare(
    stored: "Stored", image: NDArray[Any], keywords: Mapping[str, Any]
) -> Source:
    """Return the Source of ``image``; an error where the keywords contradict what the file holds."""
    states = {"dtype": image.dtype, **stored.states}
    if {"bits", "range"} & set(keywords):
        states = {
            name: held for name, held in states.items() if name not in ("bits", "range")
        }
    if stored.layout is not None:
        states |= _axes(stored, stored.layout, image.shape, keywords)
    declared = Source(**{**states, **keywords})
    layouts.check_shape(image.shape, declared.layout, len(declared.bands))
    _check_range(stored.states, declared)
    try:
        declared._pairs(image.dtype)
    except RangeError:
        if declared._declares_range:
            raise
        raise ReadError(
            f"the file holds {image.dtype}, which says nothing about black and white: declare range=(black, white), "
            f"such as range=(0, 4095), or bits="
        ) from None
    return declared


def _axes(
    stored: "Stored", layout: str, shape: tuple[int, ...], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the bands and the layout of the file; ReadError where the keywords say others, or nobody names them."""
    count = shape[layout.index("C")] if "C" in layout else 1
    if "bands" not in keywords and stored.bands is None:
        raise ReadError(_unnamed(count))
    held = names.parse(
        keywords.get("bands", "gray") if stored.bands is None else stored.bands
    )
    declared = names.parse(keywords.get("bands", held))
    if (
        len(declared) != count
        or layouts.parse(keywords.get("layout", layout)) != layout
    ):
        raise ReadError(
            f"the file holds {count} band{'s'[: count > 1]} as {layout}, "
            f"the keywords declare {names.show(declared)} as {keywords.get('layout', layout)}"
        )
    if any(
        name in held and name != there
        for name, there in zip(declared, held, strict=True)
    ):
        raise ReadError(
            f"the file holds {names.show(held)} in this order, the keywords declare {names.show(declared)}: "
            f"declare what is there, a plan puts bands into another order"
        )
    return {"bands": held, "layout": layout}


def _unnamed(count: int) -> str:
    example = names.show(tuple(f"B{number:02}" for number in range(1, count + 1)))
    return f"the file holds {count} bands and does not say which: declare them in their order, as in bands={example}"


def _check_range(states: Mapping[str, Any], declared: Source) -> None:
    """Raise ReadError where bits= or range= contradict the depth, or the direction, that the file states."""
    if "bits" in states and declared.bits not in (None, states["bits"]):
        raise ReadError(
            f"the file states {states['bits']} bits, the keywords declare {declared.bits}"
        )
    inverted = "range" in states and states["range"][0] > states["range"][1]
    if inverted and any(black < white for black, white in declared._pairs(None)):
        raise ReadError(
            f"in this file low values are white: leave bits= and range= away, which gives range={states['range']}, or "
            f"declare a range with its larger end first, such as range=(4095, 0)"
        )
