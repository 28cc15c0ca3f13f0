"""The picture of the demo: a row a case, with the source, its bands, what the backbone gets, and both histograms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import ChannelMap, plan, preset
from ..layouts import conversion
from .chains import Array
from .checks import Case, Result

INK = {
    "R": "#d62728",
    "G": "#2ca02c",
    "B": "#1f77b4",
    "Y": "#c99700",
    "gray": "#333333",
}
PASSED = "#1b7a2f"
SHADES = ("#ffffff", "#f1f3f6")
DETAIL = 96


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the picture of ``results``, which passed, to ``path``, a PNG file; nobody's settings are changed."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(
        ["default", {"font.size": 14, "axes.titlesize": 15, "legend.fontsize": 14}]
    ):
        figure = Figure(figsize=(22, 4.8 * len(results)), layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subfigures(len(results), 1, squeeze=False)[:, 0]
        for at, (row, result) in enumerate(zip(rows, results, strict=True)):
            _row(row, result, SHADES[at % 2])
        figure.savefig(path, dpi=90)


def _row(figure: Any, result: Result, shade: str) -> None:
    figure.set_facecolor(shade)
    figure.suptitle(
        f"{result.case.title}  →  {result.case.preset}",
        x=0.006,
        ha="left",
        fontsize=20,
        fontweight="bold",
    )
    figure.text(
        0.994, 0.985, _verdict(result), ha="right", va="top", fontsize=16, color=PASSED
    )
    parts = figure.subfigures(1, 4, width_ratios=[3.4, 3.4, 9.4, 6.4])
    for part in parts:
        part.set_facecolor(shade)
    case = result.case
    target = case.plan.target
    planes, made = (
        _planes(case.image, case.plan.source.layout),
        _planes(result.output, target.layout),
    )
    _source(parts[0], case)
    _bands(parts[1], planes, case)
    _outputs(parts[2], made, case.plan.unit_map)
    before, after = parts[3].subplots(1, 2)
    _histogram(before, planes, case.plan.source.bands, f"source, {case.image.dtype}")
    _histogram(after, made, target.bands, f"output, {target.dtype}")


def _verdict(result: Result) -> str:
    return (
        f"check passed: differs from the chain by hand by {result.difference:.1g} "
        f"at most, tolerance {result.tolerance:.1g}"
    )


def _planes(image: Array, layout: str) -> Array:
    return conversion(layout, layout).source_planes(image)


def _source(figure: Any, case: Case) -> None:
    source = case.plan.source
    (black, white), *_ = source._pairs(case.image.dtype)
    image = case.image
    if image.ndim > 2:  # in colour, as the plan merges its bands
        image = plan(source, preset("unit", layout="HWC"), case.plan.via)(image)
    axes = figure.subplots()
    _image(axes, image, (black, white))
    axes.set_title(
        f"source, {' x '.join(map(str, case.image.shape))}\nblack {black:g}, white {white:g}"
    )


def _bands(figure: Any, planes: Array, case: Case) -> None:
    source = case.plan.source
    pairs = source._pairs(case.image.dtype)
    if len(planes) == 1:
        axes = figure.subplots()
        _image(axes, _detail(planes[0]), pairs[0])
        axes.set_title(
            f"its one band, {source.bands[0]}\n(detail, {DETAIL} x {DETAIL} pixels)"
        )
        return
    for axes, plane, band, pair in zip(
        figure.subplots(2, 2).flat, planes, source.bands, pairs, strict=True
    ):
        _image(axes, plane, pair)
        axes.set_title(f"band {band}", color=INK[band], fontweight="bold")


def _detail(plane: Array) -> Array:
    """Return the square of ``plane`` with the greatest contrast."""
    tops, lefts = (range(0, size - DETAIL + 1, DETAIL // 2) for size in plane.shape)
    return max(
        (
            plane[top : top + DETAIL, left : left + DETAIL]
            for top in tops
            for left in lefts
        ),
        key=np.std,
    )


def _outputs(figure: Any, planes: Array, unit_map: ChannelMap) -> None:
    limits = (float(planes.min()), float(planes.max()))
    axes = figure.subplots(1, len(planes))
    for i, band in enumerate(unit_map.outputs):
        drawn = _image(axes[i], planes[i], limits)
        axes[i].set_title(f"output {i}: {band}\n", color=INK[band], fontweight="bold")
        axes[i].text(
            0.5,
            1.03,
            _equation(unit_map, i),
            transform=axes[i].transAxes,
            ha="center",
            in_layout=False,
        )
    bar = figure.colorbar(
        drawn,
        ax=list(axes),
        location="bottom",
        shrink=0.7,
        aspect=45,
        pad=0.03,
        panchor=False,
    )
    bar.set_label(
        f"output value, {limits[0]:.4g} to {limits[1]:.4g} (in the formulas black is 0, white is 1)"
    )


def _equation(unit_map: ChannelMap, i: int) -> str:
    terms = [
        f"{m:.4g} {band}"
        for m, band in zip(unit_map.matrix[i], unit_map.inputs, strict=True)
        if m
    ]
    constant = f" + {unit_map.offset[i]:.4g}" if unit_map.offset[i] else ""
    return (" + ".join(terms) + constant).replace("+ -", "- ")


def _image(axes: Any, plane: Array, limits: tuple[float, float]) -> Any:
    axes.set_axis_off()
    axes.set_anchor("N")
    return axes.imshow(plane, cmap="gray", vmin=limits[0], vmax=limits[1])


def _histogram(axes: Any, planes: Array, bands: tuple[str, ...], title: str) -> None:
    """Draw the shares of 64 classes of values, first bands with thicker lines so that equal ones stay visible."""
    edges = np.linspace(float(planes.min()), float(planes.max()), 65)
    for width, plane, band in zip(
        np.linspace(2 * len(bands), 2, len(bands)), planes, bands, strict=True
    ):
        share = np.histogram(plane, edges)[0] / plane.size * 100
        axes.stairs(share, edges, color=INK[band], linewidth=width, label=band)
    axes.set(yscale="log", title=title, xlabel="value", ylabel="% of pixels")
    axes.ticklabel_format(axis="x", style="plain")
    axes.locator_params(axis="x", nbins=3)
    axes.margins(y=0.3)  # room for the legend
    axes.legend(
        ncols=len(bands),
        handlelength=0.6,
        handletextpad=0.4,
        columnspacing=0.8,
        loc="upper center",
    )
