"""The picture of the demo.

Each case is a row: the source, its bands, the output bands, and the histograms of both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import ChannelMap, plan, preset
from ..drawing import BAND_COLOURS
from ..layouts import conversion
from .checks import Case, Result
from .reference import Array

PASSED_COLOUR = "#1b7a2f"

# The backgrounds of even and odd rows.
ROW_COLOURS = ("#ffffff", "#f1f3f6")

# Side length in pixels of the detail crop.
DETAIL_SIZE = 96

HISTOGRAM_BINS = 64


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the picture of the demo to a PNG file.

    Parameters
    ----------
    results : sequence of Result
        The results, which must have passed.
    path : Path
        The file.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    font_sizes = {"font.size": 14, "axes.titlesize": 15, "legend.fontsize": 14}
    # Neither use nor change the user's settings of matplotlib.
    with style.context(["default", font_sizes]):
        figure = Figure(figsize=(22, 4.8 * len(results)), layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subfigures(len(results), 1, squeeze=False)[:, 0]
        for index, (row, result) in enumerate(zip(rows, results, strict=True)):
            _draw_row(row, result, ROW_COLOURS[index % 2])
        figure.savefig(path, dpi=90)


def _draw_row(figure: Any, result: Result, background: str) -> None:
    """Draw one case."""
    case = result.case
    source = case.plan.source
    target = case.plan.target
    figure.set_facecolor(background)
    _draw_header(figure, result)
    columns = figure.subfigures(1, 4, width_ratios=[3.4, 3.4, 9.4, 6.4])
    for column in columns:
        column.set_facecolor(background)

    source_planes = _planes(case.image, source.layout)
    output_planes = _planes(result.output, target.layout)
    _draw_source(columns[0], case)
    _draw_bands(columns[1], source_planes, case)
    _draw_outputs(columns[2], output_planes, case.plan.unit_map)
    source_axes, output_axes = columns[3].subplots(1, 2)
    source_title = f"source, {case.image.dtype}"
    _draw_histogram(source_axes, source_planes, source.bands, source_title)
    output_title = f"output, {target.dtype}"
    _draw_histogram(output_axes, output_planes, target.bands, output_title)


def _draw_header(figure: Any, result: Result) -> None:
    """Draw the title of a row on the left and the result of the check on the right."""
    figure.suptitle(
        f"{result.case.title}  →  {result.case.preset}",
        x=0.006,
        ha="left",
        fontsize=20,
        fontweight="bold",
    )
    figure.text(
        0.994,
        0.985,
        f"check passed: maximum difference {result.difference:.1g} "
        f"(tolerance {result.tolerance:.1g})",
        ha="right",
        va="top",
        fontsize=16,
        color=PASSED_COLOUR,
    )


def _planes(image: Array, layout: str) -> Array:
    """Return a view of ``image`` with the bands first: (C, H, W)."""
    return conversion(layout, layout).source_planes(image)


def _draw_source(figure: Any, case: Case) -> None:
    """Draw the source: one band in gray, several as the composite given by ``via``."""
    source = case.plan.source
    black, white = source._pairs(case.image.dtype)[0]
    image = case.image
    if image.ndim > 2:
        to_rgb = plan(source, preset("unit", layout="HWC"), case.plan.via)
        image = to_rgb(image)
    shape = " x ".join(str(size) for size in case.image.shape)
    axes = figure.subplots()
    _draw_image(axes, image, (black, white))
    axes.set_title(f"source, {shape}\nblack {black:g}, white {white:g}")


def _draw_bands(figure: Any, planes: Array, case: Case) -> None:
    """Draw the four bands of the image, or a detail of its only band."""
    source = case.plan.source
    limits = source._pairs(case.image.dtype)
    if len(planes) == 1:
        axes = figure.subplots()
        _draw_image(axes, _detail(planes[0]), limits[0])
        axes.set_title(
            f"band {source.bands[0]}\n(detail, {DETAIL_SIZE} x {DETAIL_SIZE} pixels)"
        )
        return
    all_axes = figure.subplots(2, 2).flat
    for index, (axes, band) in enumerate(zip(all_axes, source.bands, strict=True)):
        _draw_image(axes, planes[index], limits[index])
        axes.set_title(f"band {band}", color=BAND_COLOURS[band], fontweight="bold")


def _detail(plane: Array) -> Array:
    """Return the square crop of ``plane`` with the highest standard deviation."""
    height, width = plane.shape
    # Neighbouring crops overlap by half.
    step = DETAIL_SIZE // 2
    best = plane[:DETAIL_SIZE, :DETAIL_SIZE]
    for top in range(0, height - DETAIL_SIZE + 1, step):
        for left in range(0, width - DETAIL_SIZE + 1, step):
            square = plane[top : top + DETAIL_SIZE, left : left + DETAIL_SIZE]
            if square.std() > best.std():
                best = square
    return best


def _draw_outputs(figure: Any, planes: Array, unit_map: ChannelMap) -> None:
    """Draw the output bands with their formulas, and one colour bar for all."""
    low = float(planes.min())
    high = float(planes.max())
    all_axes = figure.subplots(1, len(planes))
    for index, (axes, band) in enumerate(zip(all_axes, unit_map.outputs, strict=True)):
        image = _draw_image(axes, planes[index], (low, high))
        axes.set_title(
            f"output {index}: {band}\n", color=BAND_COLOURS[band], fontweight="bold"
        )
        # Formulas may be wider than the images. Exclude them from the layout, which
        # would otherwise shrink the images.
        axes.text(
            0.5,
            1.03,
            _formula(unit_map, index),
            transform=axes.transAxes,
            ha="center",
            in_layout=False,
        )
    bar = figure.colorbar(
        image,
        ax=list(all_axes),
        location="bottom",
        shrink=0.7,
        aspect=45,
        pad=0.03,
        panchor=False,
    )
    bar.set_label(
        f"output value, {low:.4g} to {high:.4g} "
        "(in the formulas black is 0, white is 1)"
    )


def _formula(unit_map: ChannelMap, index: int) -> str:
    """Return an output as a sum of inputs, such as "0.5 R + 0.5 Y - 1.2"."""
    terms = []
    for weight, band in zip(unit_map.matrix[index], unit_map.inputs, strict=True):
        if weight:
            terms.append(f"{weight:.4g} {band}")
    offset = unit_map.offset[index]
    if offset:
        terms.append(f"{offset:.4g}")
    return " + ".join(terms).replace("+ -", "- ")


def _draw_image(axes: Any, image: Array, limits: tuple[float, float]) -> Any:
    """Draw an image with ``limits`` as black and white; return the matplotlib image."""
    low, high = limits
    axes.set_axis_off()
    axes.set_anchor("N")
    return axes.imshow(image, cmap="gray", vmin=low, vmax=high)


def _draw_histogram(
    axes: Any, planes: Array, bands: tuple[str, ...], title: str
) -> None:
    """Draw the histogram of every band, in percent of the pixels."""
    edges = np.linspace(float(planes.min()), float(planes.max()), HISTOGRAM_BINS + 1)
    # Bands may have equal histograms. Earlier bands have thicker lines, so that they
    # are visible behind later ones.
    widths = np.linspace(2 * len(bands), 2, len(bands))
    for width, plane, band in zip(widths, planes, bands, strict=True):
        percentages = np.histogram(plane, edges)[0] / plane.size * 100
        axes.stairs(
            percentages, edges, color=BAND_COLOURS[band], linewidth=width, label=band
        )
    axes.set(yscale="log", title=title, xlabel="value", ylabel="% of pixels")
    axes.ticklabel_format(axis="x", style="plain")
    axes.locator_params(axis="x", nbins=3)
    # Leave space for the legend.
    axes.margins(y=0.3)
    axes.legend(
        ncols=len(bands),
        handlelength=0.6,
        handletextpad=0.4,
        columnspacing=0.8,
        loc="upper center",
    )
