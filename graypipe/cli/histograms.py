"""The picture of ``graypipe stats``: the histogram of every band, and the window between two percentiles."""

from io import BytesIO
from typing import Any

import numpy as np

from .. import BandStats
from ..demo.picture import INK

QUANTILES = np.linspace(0, 100, 1001)
"""As many values, equally many pixels apart, stand for all of them."""

BINS = 64


def draw(stats: BandStats, low: float, high: float, kind: str) -> memoryview:
    """Return a file with the histograms of ``stats`` and the percentiles ``low`` and ``high``, such as a "png"."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bands = stats.source.bands
    with style.context(["default", {"font.size": 12}]):
        figure = Figure(figsize=(9, 0.8 + 2.2 * len(bands)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(
            f"{stats.count:,} pixels a band, {stats.dtype}", ha="left", x=0.02
        )
        axes = figure.subplots(len(bands), 1, squeeze=False)[:, 0]
        values, ends = (
            stats.percentile(QUANTILES.tolist()),
            stats.percentile([low, high]),
        )
        for at, band in enumerate(bands):
            _band(axes[at], band, values[:, at], ends[:, at], f"{low:g} to {high:g} %")
        axes[-1].set_xlabel("stored value")
        made = BytesIO()
        figure.savefig(made, format=kind, dpi=100)
        return made.getbuffer()


def _band(axes: Any, band: str, values: Any, ends: Any, window: str) -> None:
    colour = INK.get(band, INK["gray"])
    axes.hist(
        values,
        bins=BINS,
        weights=np.full(len(values), 100 / len(values)),
        color=colour,
        alpha=0.75,
    )
    black, white = ends
    axes.axvspan(
        black,
        white,
        color="#888888",
        alpha=0.15,
        label=f"{window}: {black:.6g} to {white:.6g}",
    )
    axes.set_ylabel(f"{band}, % of pixels")
    axes.legend(loc="upper right")
