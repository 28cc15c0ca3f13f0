"""What a plan will do with an image, as text."""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from . import bands as names
from . import engine, layouts
from .channel_map import ChannelMap
from .errors import RangeError

if TYPE_CHECKING:
    from .plan import Plan


def explain(
    plan: "Plan", shape: tuple[int, ...] | None, dtype: DTypeLike | None
) -> str:
    """Return the text of `Plan.explain`."""
    source, target, conversion = plan.source, plan.target, plan._conversion
    known = None if dtype is None else engine.element_type(dtype)
    element = known or source.dtype
    lines = [
        (
            "source",
            f"{names.show(source.bands)} as {source.layout}{f', {element}' if element else ''}",
        )
    ]
    if shape is not None:
        layouts.check_shape(shape, conversion.source, len(source.bands))
        lines.append(("image", layouts.describe(conversion.source, shape)))
    lines.append(("range", _range(plan, known)))
    lines.append(("guards", _guards(plan, known)))
    lines.append(
        ("target", f"{names.show(target.bands)} as {conversion.target}, {target.dtype}")
    )
    lines += _equations(plan, known)
    if known is not None or source.dtype is not None:
        execution = plan._execution(known or np.dtype(source.dtype))
        lines.append(("runs as", _execution(execution)))
        if shape is not None:
            lines.append(("memory", _memory(execution, shape)))
    return "\n".join(f"{label:>8}  {text}" for label, text in lines)


def _range(plan: "Plan", dtype: np.dtype[Any] | None) -> str:
    source = plan.source
    try:
        pairs = source._pairs(dtype)
    except RangeError:
        if dtype is not None:
            raise
        return "by the image's dtype: bool 0..1, uint8 0..255, uint16 0..65535, floating 0..1"
    shown = [f"{black:g}..{white:g}" for black, white in pairs]
    how = "declared" if source._declares_range else "implied by the dtype"
    return (
        f"{shown[0] if len(set(shown)) == 1 else ', '.join(shown)} becomes 0..1 ({how})"
    )


def _guards(plan: "Plan", dtype: np.dtype[Any] | None) -> str:
    source = plan.source
    guards = []
    if source.nodata is not None:
        guards.append(f"a pixel with {source.nodata:g} in any band becomes 0")
    if source.clip:
        guards.append("values are clipped to the range")
    if not source._declares_range and (dtype is None or dtype.kind == "f"):
        guards.append("floating values above 2 or below -1 are refused")
    if np.dtype(plan.target.dtype).kind in "iub":
        guards.append("rounded half to even, saturated")
    return "; ".join(guards) or "none"


def _equations(plan: "Plan", dtype: np.dtype[Any] | None) -> list[tuple[str, str]]:
    try:
        channel_map, unit = (
            plan._stored_map(plan.source._pairs(dtype)),
            "x: stored values",
        )
    except RangeError:
        channel_map, unit = plan.unit_map, "x: unit intensities, 0 black and 1 white"
    rows = [_equation(channel_map, i) for i in range(len(channel_map.outputs))]
    return [("y = Mx+b", f"{rows[0]}    ({unit})"), *(("", row) for row in rows[1:])]


def _equation(channel_map: ChannelMap, i: int) -> str:
    terms = [
        name if m == 1 else f"{m:.6g}*{name}"
        for m, name in zip(channel_map.matrix[i], channel_map.inputs, strict=True)
        if m
    ]
    if channel_map.offset[i] or not terms:
        terms.append(f"{channel_map.offset[i]:.6g}")
    return f"{channel_map.outputs[i]} = {' + '.join(terms)}".replace("+ -", "- ")


def _execution(execution: engine.Execution) -> str:
    if execution.progression:
        tested = (
            "tested against the implied range"
            if execution.spec.implied
            else "nothing is computed"
        )
        return (
            f"a move of bands{_engine()}, {tested}; plan.view gives it without a copy"
        )
    return f"one fused pass in {execution.compute_dtype}{_engine()}"


def _engine() -> str:
    return (
        " (numba engine)"
        if engine.name() == "numba"
        else " (numpy engine; the extra fast brings compiled kernels)"
    )


def _memory(execution: engine.Execution, shape: tuple[int, ...]) -> str:
    result, spec = execution.shape(shape), execution.spec
    bands = len(spec.reads) if spec.nodata is None else len(spec.centre)
    read = prod(shape) // len(spec.centre) * bands * execution.source.itemsize
    written = prod(result) * execution.target.itemsize
    return f"reads {read:,} bytes, writes {written:,} bytes, shape {result}"
