"""Pictures of the results."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from . import targets
from .engines import OURS
from .results import Case, Record, where
from .targets import AT_LEAST

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "savefig.bbox": "tight",
}
OWN, MISSED, OTHER = "#0b6e4f", "#c1440e", "#9aa5b1"
MARKS = "osD^v<>Pp*X"


def draw(records: dict[str, Record], folder: Path) -> list[Path]:
    """Draw the pictures of the measured groups and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(STYLE):
        for name, (_, group, paint) in PLOTS.items():
            if group in records:
                paths.append(folder / f"{name}.png")
                paint(records).savefig(paths[-1], dpi=130, metadata={"Software": None})
    return paths


def _axes(width: float, height: float) -> tuple[Picture, Axes]:
    picture = Picture(figsize=(width, height))
    return picture, picture.subplots()


def _targets(records: dict[str, Record]) -> Picture:
    rows = [row for row in targets.reached(records) if row.target.goal][::-1]
    picture, axes = _axes(8, 0.8 + 0.3 * len(rows))
    margins = [
        row.value / row.target.goal
        if row.target.sense == AT_LEAST
        else row.target.goal / max(row.value, 1e-12)
        for row in rows
    ]
    labels = [f"{row.target.what} / {row.target.against}" for row in rows]
    axes.barh(
        labels,
        [margin - 1 for margin in margins],
        left=1,
        color=[MISSED if row.missed else OWN for row in rows],
    )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("worst case relative to the goal (1: just reached)")
    return picture


def _expand(records: dict[str, Record]) -> Picture:
    cases = where(records["expand"], memory="fresh")
    labels = [
        case["name"].removeprefix("expand, ").removesuffix(", fresh") for case in cases
    ]
    picture, axes = _axes(8, 0.8 + 0.27 * len(cases))
    names = sorted(
        {
            name
            for case in cases
            for name, figure in case["contenders"].items()
            if figure["kind"] == "peer"
        }
    )
    for number, name in enumerate(names):
        points = [
            (row, case["contenders"])
            for row, case in enumerate(cases)
            if name in case["contenders"]
        ]
        over = [
            figures[name]["median"] / figures[OURS]["median"] for _, figures in points
        ]
        axes.plot(
            over,
            [row for row, _ in points],
            MARKS[number % len(MARKS)],
            label=name,
            markersize=5,
            alpha=0.8,
        )
    axes.axvline(1, color=OWN, linewidth=2)
    axes.set_yticks(range(len(cases)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(
        "time relative to graypipe, newly allocated memory "
        "(right of the line: slower than graypipe)"
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return picture


def _normalise(records: dict[str, Record]) -> Picture:
    picture = Picture(figsize=(9, 4.2))
    both = picture.subplots(1, 2, sharey=True)
    styles: dict[str, dict[str, object]] = {}
    for axes, layout in zip(both, ("CHW", "HWC"), strict=True):
        cases = where(records["normalise"], layout=layout, memory="fresh")
        sizes = [int(case["facts"]["size"]) for case in cases]
        for name in cases[0]["contenders"]:
            rates = [
                case["contenders"][name]["median"] / size**2 * 1e9
                for case, size in zip(cases, sizes, strict=True)
            ]
            axes.plot(
                sizes,
                rates,
                label=name,
                **styles.setdefault(name, _line(name, len(styles))),
            )
        axes.set(
            xscale="log",
            yscale="log",
            title=layout,
            xlabel="size (square root of the pixels)",
        )
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
    both[0].set_ylabel("ns per pixel, newly allocated memory")
    lines = {line.get_label(): line for axes in both for line in axes.lines}
    picture.legend(
        lines.values(),
        lines,
        fontsize=7,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=4,
    )
    return picture


def _line(name: str, number: int) -> dict[str, object]:
    """Return how the contender ``name``, the ``number``-th to appear, is drawn."""
    own = (
        {"color": OWN, "linewidth": 2.5}
        if name == OURS
        else {"color": f"C{number % 10}", "linewidth": 1}
    )
    return {"marker": MARKS[number % len(MARKS)], "markersize": 4, **own}


def _zero_copy(records: dict[str, Record]) -> Picture:
    cases = where(records["zero_copy"], "time", size="1024")
    picture = Picture(figsize=(9, 5.5))
    grid = picture.subplots(2, -(-len(cases) // 2)).ravel()
    for axes, case in zip(grid, cases, strict=False):
        figures = list(case["contenders"].items())[::-1]
        colors = [OWN if figure["kind"] == "ours" else OTHER for _, figure in figures]
        axes.barh(
            [name.removeprefix("graypipe, ") for name, _ in figures],
            [f["median"] * 1e3 for _, f in figures],
        )
        for bar, color in zip(axes.patches, colors, strict=True):
            bar.set_color(color)
        axes.set_title(case["facts"]["consumer"], fontsize=8)
        axes.tick_params(labelsize=6)
        axes.set_xlabel("ms", fontsize=7)
    for axes in grid[len(cases) :]:
        axes.remove()
    picture.tight_layout()
    return picture


def _summary(records: dict[str, Record]) -> Picture:
    """Draw the pass over an image, and files to batches, each as bars of times."""
    image = where(records["normalise"], size="224", layout="CHW", memory="fresh")[0]
    files = where(records["loader"], task="files")[0]
    picture = Picture(figsize=(9, 2.6))
    both = picture.subplots(1, 2)
    _bars(both[0], image, "one gray image of 224² to normalised float32", "µs", 1e6)
    _bars(both[1], files, "384 gray JPEG and PNG files to batches", "ms", 1e3)
    picture.tight_layout()
    return picture


def _bars(axes: Axes, case: Case, title: str, unit: str, factor: float) -> None:
    """Draw the times of all contenders, the fastest at the top."""
    times = {
        name: figure["median"] * factor
        for name, figure in case["contenders"].items()
        if figure["kind"] != "floor"
    }
    names = sorted(times, key=times.__getitem__, reverse=True)
    colors = [OWN if name.startswith(OURS) else OTHER for name in names]
    bars = axes.barh(names, [times[name] for name in names], color=colors)
    axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(f"{unit}, less is better", fontsize=8)
    axes.margins(x=0.12)


PLOTS: dict[str, tuple[str, str, Callable[[dict[str, Record]], Picture]]] = {
    "benchmark-targets": ("result relative to the goal, by goal", "expand", _targets),
    "benchmark-expand": (
        "expansion: time of each peer relative to graypipe",
        "expand",
        _expand,
    ),
    "benchmark-normalise": (
        "normalisation: time per pixel by image size",
        "normalise",
        _normalise,
    ),
    "benchmark-summary": (
        "one image, and files to batches: time of every contender",
        "loader",
        _summary,
    ),
    "zero-copy": ("expansion with its consumers at 1024²", "zero_copy", _zero_copy),
}
"""By file name: caption, the group it needs, and the function that draws it."""
