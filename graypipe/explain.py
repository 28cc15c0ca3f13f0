"""Describe what a plan does: the lines of `Plan.explain`."""

from math import prod

import numpy as np

from . import engine, layouts
from .bands import format_bands
from .channel_map import ChannelMap
from .source import Pair, Source
from .target import Target


def explain(
    source: Source,
    target: Target,
    conversion: layouts.LayoutConversion,
    *,
    channel_map: ChannelMap,
    pairs: tuple[Pair, ...] | None,
    execution: engine.Execution | None,
    shape: tuple[int, ...] | None,
) -> list[tuple[str, str]]:
    """Describe how a plan interprets and converts images.

    Parameters
    ----------
    source : Source
    target : Target
    conversion : LayoutConversion
        From the layout of the source to the layout of the target.
    channel_map : ChannelMap
        The map that acts on stored values, or on unit intensities if ``pairs`` is None.
    pairs : tuple of (black, white) or None
        The range of every band, or None if it depends on a dtype that is unknown.
    execution : Execution or None
        None if the dtype is unknown.
    shape : tuple of int or None
        Shape of the image, already validated.

    Returns
    -------
    list of (str, str)
        The label and the text of every line. A line that continues the line before has
        an empty label.
    """
    source_text = f"{format_bands(source.bands)} as {source.layout}"
    if execution is not None:
        source_text += f", {execution.source_dtype}"
    lines = [("source", source_text)]
    if shape is not None:
        lines.append(("image", layouts.describe(conversion.source_layout, shape)))
    lines.append(("range", _describe_range(source, pairs)))
    lines.append(("guards", _describe_guards(source, target, execution)))
    target_text = (
        f"{format_bands(target.bands)} as {conversion.target_layout}, {target.dtype}"
    )
    lines.append(("target", target_text))
    equations = [
        _format_equation(channel_map, index)
        for index in range(len(channel_map.outputs))
    ]
    equations[0] += f"    (inputs: {_describe_units(pairs)})"
    labels = ["map"] + [""] * (len(equations) - 1)
    lines.extend(zip(labels, equations, strict=True))
    if execution is not None:
        lines.append(("runs as", _describe_execution(execution)))
        if shape is not None:
            lines.append(("memory", _describe_memory(execution, shape)))
    return lines


def _describe_range(source: Source, pairs: tuple[Pair, ...] | None) -> str:
    """Return the text about the stored values of black and white."""
    if pairs is None:
        return (
            "implied by the dtype of the image: bool 0..1, uint8 0..255, "
            "uint16 0..65535, floating 0..1"
        )
    intervals = [f"{black:g}..{white:g}" for black, white in pairs]
    if len(set(intervals)) == 1:
        intervals = intervals[:1]
    origin = "declared" if source._declares_range else "implied by the dtype"
    return f"{', '.join(intervals)} becomes 0..1 ({origin})"


def _describe_guards(
    source: Source, target: Target, execution: engine.Execution | None
) -> str:
    """Return the steps that are not part of the affine map."""
    guards = []
    if isinstance(source.nodata, tuple):
        values = zip(source.bands, source.nodata, strict=True)
        listed = [f"{band} {value:g}" for band, value in values if value is not None]
        guards.append(
            "outputs that read a band without data are set to 0 (nodata: "
            f"{', '.join(listed)})"
        )
    elif source.nodata is not None:
        guards.append(f"pixels equal to {source.nodata:g} in any band are set to 0")
    if source.clip:
        guards.append("values are clipped to the range")
    guards.extend(_describe_tests(source, execution))
    if np.dtype(target.dtype).kind in "iub":
        guards.append("values are rounded half to even and saturated")
    return "; ".join(guards) or "none"


def _describe_tests(source: Source, execution: engine.Execution | None) -> list[str]:
    """Return which values raise an error."""
    if execution is None and source._declares_range:
        return []
    if execution is None or execution.spec.check_implied_range:
        return ["floating values above 2 or below -1 are rejected"]
    spec = execution.spec
    if spec.highest is not None:
        return [f"integers above {min(spec.highest):g} are rejected"]
    if spec.undivided_bands:
        return ["images that an earlier step has divided are rejected"]
    return []


def _describe_units(pairs: tuple[Pair, ...] | None) -> str:
    """Return the units of the inputs of the printed map."""
    if pairs is None:
        return "unit intensities, where 0 is black and 1 is white"
    return "stored values"


def _format_equation(channel_map: ChannelMap, index: int) -> str:
    """Return the formula of one output band, such as ``R = 0.5*R + 0.5*Y - 1``.

    The left-hand side is an output band; the right-hand side contains input bands.
    """
    terms = []
    for factor, name in zip(channel_map.matrix[index], channel_map.inputs, strict=True):
        if factor == 1:
            terms.append(name)
        elif factor:
            terms.append(f"{factor:.6g}*{name}")
    constant = channel_map.offset[index]
    if not terms and not constant:
        return f"{channel_map.outputs[index]} = 0 (no input band)"
    if constant or not terms:
        terms.append(f"{constant:.6g}")
    formula = " + ".join(terms).replace("+ -", "- ")
    return f"{channel_map.outputs[index]} = {formula}"


def _describe_execution(execution: engine.Execution) -> str:
    """Return how the plan is executed, and by which engine."""
    engine_note = " (numba engine)"
    if engine.name() == "numpy":
        engine_note = (
            ' (numpy engine; pip install "graypipe[fast]" for compiled kernels)'
        )
    if execution.progression is None:
        return f"one fused pass in {execution.compute_dtype}{engine_note}"
    work = "copies bands without arithmetic"
    if execution.spec.tests_values:
        work = "tests the values and copies bands"
    return f"{work}{engine_note}; plan.view returns the same values without a copy"


def _describe_memory(execution: engine.Execution, shape: tuple[int, ...]) -> str:
    """Return the number of bytes read and written."""
    spec = execution.spec
    result_shape = execution.shape(shape)
    input_count = len(spec.black_levels)
    # A single nodata value is tested in every band; the map reads only bands with a
    # non-zero weight.
    bands_read = len({*spec.bands_read, *spec.bands_tested})
    pixels = prod(shape) // input_count
    bytes_read = pixels * bands_read * execution.source_dtype.itemsize
    bytes_written = prod(result_shape) * execution.target_dtype.itemsize
    return (
        f"reads {bytes_read:,} bytes, writes {bytes_written:,} bytes, "
        f"shape {result_shape}"
    )
