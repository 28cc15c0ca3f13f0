"""Rasters as rasterio opens them: the names, types, nodata values and scales of their bands."""

from collections.abc import Sequence
from typing import Any

from .. import bands as names
from ..engine import element_type, limits
from ..errors import ChannelError, RangeError
from ..validation import is_sequence, pair
from .rescale import UNSCALED, Line, exact, line, to_stored, wide_enough


def fields(dataset: Any, physical: Any, declared: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the source that ``dataset.read()`` is; see `Source.from_rasterio`."""
    if not hasattr(dataset, "descriptions"):
        raise ChannelError(
            f"expected a raster as rasterio.open returns it, got a {type(dataset).__name__}"
        )
    found = {
        "layout": "CHW",
        **declared,
        "bands": _bands(dataset, declared.get("bands")),
    }
    for name, values in (("dtype", dataset.dtypes), ("nodata", dataset.nodatavals)):
        if name not in declared:
            found[name] = _alike(values, name)
    lines = [
        line(*both, "a band")
        for both in zip(dataset.scales, dataset.offsets, strict=True)
    ]
    ranged = any(declared.get(name) is not None for name in ("range", "bits"))
    if physical is None:
        if not ranged and set(lines) != {UNSCALED}:
            raise RangeError(
                f"the raster scales its values (scales {dataset.scales}, offsets {dataset.offsets}), so its dtype says "
                f"nothing about black and white: declare physical=(black, white) as it scales, or range= in stored ones"
            )
        return found
    if ranged:
        raise RangeError(
            "physical= says the same thing as range= or bits=: declare one of them"
        )
    found["range"] = _stored(physical, lines)
    if "dtype" not in declared:
        found["dtype"] = _holding(found["dtype"], found["range"])
    return found


def _bands(dataset: Any, declared: Any) -> tuple[str, ...]:
    said = tuple(dataset.descriptions)
    if "palette" in [
        getattr(color, "name", color) for color in getattr(dataset, "colorinterp", ())
    ]:
        raise ChannelError(
            "the raster holds indices into a palette, no intensities: look the colours up in dataset.colormap(1), and "
            "write the gp.Source of what comes out by hand"
        )
    if declared is None:
        if not all(said) or len(set(said)) < len(said):
            raise ChannelError(
                f"expected a description of its own for each band, got {said}: name the bands in their order, "
                f"bands={'gray' if len(said) == 1 else ('B02', 'B03', '...')!r}"
            )
        return said
    named = names.parse(declared)
    if len(named) != len(said):
        raise ChannelError(
            f"the raster has {len(said)} bands, bands= names {len(named)}: name each, in their order"
        )
    if set(named) == set(said) and named != said:
        raise ChannelError(
            f"the raster holds {said} in this order, bands= says {named}: declare what is there, a plan puts bands "
            f"into another order"
        )
    return named


def _alike(values: Sequence[Any], name: str) -> Any:
    if len(set(map(repr, values))) > 1:  # by repr, in which a NaN equals another
        raise RangeError(
            f"the bands differ in {name}, got {tuple(values)}: declare {name}= of the array that you read"
        )
    return values[0]


def _stored(physical: Any, lines: Sequence[Line]) -> list[tuple[float, ...]]:
    """Return (black, white) in stored values, a pair a band."""
    each = is_sequence(physical) and all(is_sequence(part) for part in physical)
    pairs = [pair(part, "physical=") for part in (physical if each else [physical])]
    if each and len(pairs) != len(lines):
        raise ChannelError(
            f"physical holds one (black, white), or one per band: expected {len(lines)} pairs, got {len(pairs)}"
        )
    pairs = pairs if each else pairs * len(lines)
    return [
        to_stored([exact(level, "physical=") for level in ends], scaling)
        for ends, scaling in zip(pairs, lines, strict=True)
    ]


def _holding(dtype: str, pairs: Sequence[Sequence[float]]) -> str:
    known = element_type(dtype)
    levels = [level for ends in pairs for level in ends]
    return wide_enough(
        dtype, levels if known.kind == "f" else [*limits(known), *levels]
    )
