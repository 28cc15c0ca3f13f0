"""Draw what a plan does with an image, and what wrong choices would have given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import layouts
from .errors import GraypipeError, LayoutError
from .extras import require_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .plan import Plan

Array = NDArray[Any]

# Matplotlib's default colours where they match the band.
BAND_COLOURS = {
    "R": "#d62728",
    "G": "#2ca02c",
    "B": "#1f77b4",
    "Y": "#c99700",
    "gray": "#333333",
}

# The largest number of bands that are drawn, and of pixels along a side of a picture.
MAX_BANDS = 6
MAX_SIDE = 640

HISTOGRAM_BINS = 128

RGB = ("R", "G", "B")


class WrongChoice(NamedTuple):
    """A mistake, and the output that it gives for an image.

    Parameters
    ----------
    title : str
        What is done wrong.
    output : ndarray
        The output, in the layout of the target.
    """

    title: str
    output: Array


def draw(plan: "Plan", image: Array) -> "Figure":
    """Draw an image before and after a plan.

    Parameters
    ----------
    plan : Plan
        The plan.
    image : ndarray
        One image, in the layout of the source.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, which is not shown yet.

    Raises
    ------
    LayoutError
        If the source has axes other than H, W and C.
    GraypipeError
        If the plan cannot convert the image.
    MissingExtraError
        If matplotlib is not installed.
    """
    extra_axes = "".join(axis for axis in plan.source.layout if axis not in "HWC")
    if extra_axes:
        raise LayoutError(
            f"expected one image, but the source also has the axes {extra_axes!r}: "
            'pick one, such as plan.with_layouts("HW").show(images[0])'
        )
    with require_extra("demo", "matplotlib"):
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    output = plan(image)
    wrong = list(wrong_choices(plan, image))
    # Neither use nor change the user's settings of matplotlib.
    with style.context(["default", {"font.size": 11, "axes.titlesize": 11}]):
        heights = [3.4, 3.4, 2.6, 3.6][: 4 if wrong else 3]
        figure = Figure(figsize=(14, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        rows: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
        _draw_stored(rows[0], plan, image)
        _draw_output(rows[1], plan, output)
        _draw_histograms(rows[2], plan, image, output)
        if wrong:
            _draw_wrong(rows[3], plan, output, wrong)
    return figure


def wrong_choices(plan: "Plan", image: Array) -> Iterator[WrongChoice]:
    """Yield common mistakes that change the output for this image.

    Parameters
    ----------
    plan : Plan
        The right plan.
    image : ndarray
        One image.

    Yields
    ------
    WrongChoice
        A mistake. None is yielded if it makes no difference, or raises an error.
    """
    right = plan(image)
    attempts: list[tuple[str, Callable[[Plan, Array], Array | None]]] = [
        ('Pillow: convert("RGB")', _through_pillow),
        ("range not declared", _without_range),
        ("nodata not declared", _without_nodata),
        ("mean and std of the first band for all bands", _with_one_statistic),
    ]
    for title, attempt in attempts:
        try:
            output = attempt(plan, image)
        except GraypipeError:
            continue
        if output is not None and not np.array_equal(output, right, equal_nan=True):
            yield WrongChoice(title, output)


def _through_pillow(plan: "Plan", image: Array) -> Array | None:
    """Return the output for an image that Pillow has converted to 8-bit RGB.

    None for images that lose nothing, and for those that Pillow does not convert.
    """
    is_gray_to_rgb = len(plan.source.bands) == 1 and plan.target.bands == RGB
    if not is_gray_to_rgb or image.dtype == np.uint8:
        return None
    from PIL import Image

    plane = _planes(image, plan.source.layout)[0]
    try:
        converted = np.asarray(Image.fromarray(plane).convert("RGB"))
    except (OSError, TypeError, ValueError):
        return None
    rgb = replace(plan.source, bands=RGB, layout="HWC", dtype=None, bits=None)
    rgb = replace(rgb, range=None, clip=False, nodata=None, sensor=None)
    return _same_bands(plan, rgb)(converted)


def _same_bands(plan: "Plan", source: Any) -> "Plan":
    """Return the plan from a source with the bands of the target."""
    identity = np.eye(len(source.bands))
    via = type(plan.via)(identity, inputs=source.bands, outputs=plan.target.bands)
    return replace(plan, source=source, via=via)


def _without_range(plan: "Plan", image: Array) -> Array | None:
    """Return the output with the range that the dtype implies, if it does."""
    if not plan.source._declares_range:
        return None
    source = replace(plan.source, bits=None, range=None, clip=False, sensor=None)
    return replace(plan, source=source)(image)


def _without_nodata(plan: "Plan", image: Array) -> Array:
    """Return the output with missing pixels as if they were values."""
    return replace(plan, source=replace(plan.source, nodata=None))(image)


def _with_one_statistic(plan: "Plan", image: Array) -> Array:
    """Return the output with the mean and std of the first band for all bands."""
    mean, std = (
        statistic[0] if isinstance(statistic, tuple) else statistic
        for statistic in (plan.target.mean, plan.target.std)
    )
    return replace(plan, target=replace(plan.target, mean=mean, std=std))(image)


def _planes(image: Array, layout: str) -> Array:
    """Return a view of ``image`` with the bands first: (C, H, W)."""
    return layouts.conversion(layout, layout).source_planes(image)


def intensities(plan: "Plan", output: Array) -> Array:
    """Return the unit intensities of an output as a picture: (H, W) or (H, W, 3).

    Nodata, which has the mean of the target, is shown as the mean.
    """
    affine = plan.target._affine()
    planes = _thumbnails(_planes(output, plan.target.layout)).astype(np.float64)
    for index in range(len(planes)):
        planes[index] -= float(affine.offset[index])
        planes[index] /= float(affine.rows[index][index])
    bands = plan.target.bands
    if set(bands) == set(RGB):
        planes = planes[[bands.index(band) for band in RGB]]
    else:
        planes = planes[:1]
    picture = np.moveaxis(np.clip(np.nan_to_num(planes), 0, 1), 0, -1)
    return picture if picture.shape[-1] == len(RGB) else picture[..., 0]


def _thumbnails(planes: Array) -> Array:
    """Return at most `MAX_SIDE` rows and columns, a copy of every n-th one."""
    step = -(-max(planes.shape[-2:]) // MAX_SIDE)
    return planes[..., ::step, ::step].copy()


def _draw_stored(figure: Any, plan: "Plan", image: Array) -> None:
    """Draw the stored bands, each from its black to its white."""
    source = plan.source
    pairs = source._pairs(image.dtype)
    shape = " x ".join(map(str, image.shape))
    _write_title(figure, f"stored: {shape} {image.dtype}, {source.layout}")
    planes = _thumbnails(_planes(image, source.layout))
    for index, axes in enumerate(_axes(figure, min(len(planes), MAX_BANDS))):
        black, white = pairs[index]
        _draw_picture(axes, planes[index], black, white)
        axes.set_title(f"{source.bands[index]}: black {black:g}, white {white:g}")
    if len(planes) > MAX_BANDS:
        figure.supxlabel(f"and {len(planes) - MAX_BANDS} more bands", fontsize=11)


def _draw_output(figure: Any, plan: "Plan", output: Array) -> None:
    """Draw what the backbone sees, and its bands on one scale."""
    target = plan.target
    shape = " x ".join(map(str, output.shape))
    title = f"output: {shape} {output.dtype}, {target.layout}; as the backbone sees it"
    _write_title(figure, title)
    planes = _thumbnails(_planes(output, target.layout))
    shown = min(len(planes), MAX_BANDS)
    all_axes = _axes(figure, 1 + shown)
    _draw_picture(all_axes[0], intensities(plan, output), 0, 1)
    all_axes[0].set_title("intensities from 0 to 1")
    low, high = _extremes(planes)
    for index in range(shown):
        axes = all_axes[1 + index]
        _draw_picture(axes, planes[index], low, high)
        least, greatest = _extremes(planes[index])
        axes.set_title(f"{target.bands[index]}: {least:.4g} to {greatest:.4g}")


def _draw_histograms(figure: Any, plan: "Plan", image: Array, output: Array) -> None:
    """Draw the histograms of the stored and of the output values."""
    left, right = figure.subplots(1, 2)
    source, target = plan.source, plan.target
    _draw_histogram(left, _planes(image, source.layout), source.bands)
    left.set_title("stored values")
    for level in sorted(
        {level for pair in source._pairs(image.dtype) for level in pair}
    ):
        left.axvline(level, color="#888888", linewidth=1, linestyle=":")
    _draw_histogram(right, _planes(output, target.layout), target.bands)
    right.set_title("output values")


def _draw_histogram(axes: Any, planes: Array, bands: Sequence[str]) -> None:
    """Draw the share of the pixels at each value, for every band."""
    low, high = _extremes(planes)
    edges = np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)
    if not np.isfinite(planes).any():
        axes.set_axis_off()  # a logarithmic axis needs a value
        return
    for plane, band in zip(planes[:MAX_BANDS], bands, strict=False):
        values = plane[np.isfinite(plane)].astype(np.float64)
        percentages = np.histogram(values, edges)[0] / max(1, plane.size) * 100
        axes.stairs(percentages, edges, color=BAND_COLOURS.get(band), label=band)
    axes.set_yscale("log")
    axes.set_ylabel("% of pixels")
    axes.legend(loc="upper right", fontsize=9)


def _draw_wrong(
    figure: Any, plan: "Plan", right: Array, choices: Sequence[WrongChoice]
) -> None:
    """Draw what the backbone would see after each mistake."""
    _write_title(figure, "what the backbone would see after a wrong choice")
    all_axes = _axes(figure, max(3, len(choices)))
    for axes, choice in zip(all_axes, choices, strict=False):
        _draw_picture(axes, intensities(plan, choice.output), 0, 1)
        difference = np.nan_to_num(np.abs(choice.output.astype(np.float64) - right))
        axes.set_title(
            f"{choice.title}\noff by up to {difference.max():.3g}, "
            f"{difference.mean():.3g} on average"
        )


def _axes(figure: Any, count: int) -> Sequence[Any]:
    """Return ``count`` axes without ticks in a row."""
    all_axes: Sequence[Any] = figure.subplots(1, count, squeeze=False)[0]
    for axes in all_axes:
        axes.set_axis_off()
    return all_axes


def _draw_picture(axes: Any, picture: Array, low: float, high: float) -> None:
    """Draw a picture whose black is ``low`` and whose white is ``high``."""
    if picture.dtype == bool:
        picture = picture.astype(np.uint8)
    colours = "gray"
    if low > high:  # 0 is white
        low, high, colours = high, low, "gray_r"
    axes.imshow(picture, cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def _write_title(figure: Any, title: str) -> None:
    """Write a title at the left of a row."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")


def _extremes(values: Array) -> tuple[float, float]:
    """Return the lowest and the highest finite value; 0 and 0 if there is none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 0.0
    return float(finite.min()), float(finite.max())
