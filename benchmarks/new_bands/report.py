"""The section of the page: text from ``section.md``, figures and picture from the results."""

from collections.abc import Iterable
from math import sqrt
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from scipy.stats import t

from .. import provenance
from ..plots import OTHER, OWN
from ..results import Record
from ..writing import table
from .experiment import EXCHANGED
from .experiment import OWN as OWN_BANDS
from .methods import EXTENDED, METHODS, RGB_ONLY, ZERO
from .scenes import CLASSES

PROBE, EARLY, LATE = "probe", "early", "late"
NOT_TUNED = "\nFine-tuning all weights is not part of this record.\n"


class Interval(NamedTuple):
    """A mean over the seeds and its 95 % interval, in percent or percentage points."""

    mean: float
    low: float
    high: float


def section(record: Record) -> str:
    """Return the section for ``record``; fine-tuning is a part of it if networks were fine-tuned."""
    settings = record["settings"]
    tuning, headline = NOT_TUNED, ""
    if settings["tuned"]:
        tuning = _template("tuning.md").substitute(
            **_facts(record),
            **_quoted(record, LATE),
            accuracy=_tuned(record),
            control=_tuned_control(record),
        )
        headline = _template("headline.md").substitute(
            **_facts(record), **_quoted(record, LATE)
        )
    return _template("section.md").substitute(
        **_facts(record),
        **_quoted(record, PROBE),
        headline=headline,
        warning=provenance.warning([record]),
        machine=provenance.machine(record),
        accuracy=_probes(record),
        tuning=tuning,
    )


def picture(record: Record) -> Picture:
    """Return the accuracies with their intervals; lines mark RGB only."""
    titles = {PROBE: "linear probe, frozen network"}
    if record["settings"]["tuned"]:
        titles[LATE] = "fine-tuned network"
    drawn = Picture(figsize=(4.2 * len(titles), 3.2))
    panels = drawn.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axes, (stage, title) in zip(panels, titles.items(), strict=True):
        _draw(axes, record, stage)
        axes.set_title(title, fontsize=9)
    panels[0].legend(
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(0, -0.18),
        ncols=len(titles),
    )
    return drawn


def _draw(axes: Axes, record: Record, stage: str) -> None:
    names = METHODS[::-1]
    styles = (
        (0.15, OWN, OWN_BANDS, "new bands of the scene"),
        (-0.15, OTHER, EXCHANGED, "new bands of another scene"),
    )
    for shift, color, bands, label in styles:
        for row, method in enumerate(names):
            measured = shares(record, stage, bands, method)
            if (method == RGB_ONLY and bands == EXCHANGED) or not measured:
                continue
            found = interval(measured.values())
            position = row + shift * (method != RGB_ONLY)
            axes.plot(
                [found.low, found.high], [position] * 2, color=color, linewidth=1.5
            )
            axes.plot(found.mean, position, "o", color=color, markersize=5)
        axes.plot([], [], "o-", color=color, label=label)
    reference = _of(record, stage, OWN_BANDS, RGB_ONLY).mean
    axes.axvline(reference, color=OWN, linewidth=0.8, linestyle=":")
    axes.set_xlabel("accuracy with 95 % interval, %")
    axes.set_yticks(range(len(names)), names)


def _template(name: str) -> Template:
    return Template((Path(__file__).parent / name).read_text(encoding="utf-8"))


def _facts(record: Record) -> dict[str, Any]:
    """Return what the text says about the measurement."""
    settings = record["settings"]
    epoch = settings["training"] // settings["batch"]
    return {
        "minutes": f"{sum(run['seconds'] for run in record['runs']) / 60:.0f}",
        "classes": len(CLASSES),
        "chance": f"{100 / len(CLASSES):.1f} %",
        "epoch": epoch,
        "steps": settings["epochs"] * epoch,
        "rate_choices": ", ".join(map(str, settings["rates"])),
        "rate": record["rate"],
        "rgb_moments": _share(_moments(record, "RGB")),
        "all_moments": _share(_moments(record, "all")),
        "all_mean": f"{_moments(record, 'all').mean:.0f}",
        "tuned_count": len(settings["tuned"]),
        **{
            name: settings[name]
            for name in ("seeds", "training", "validation", "test", "epochs", "batch")
        },
    }


def interval(points: Iterable[float]) -> Interval:
    """Return the mean of ``points`` with its 95 % interval by Student's t."""
    values = np.array(list(points))
    mean = values.mean()
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / sqrt(len(values))
    return Interval(float(mean), float(mean - half), float(mean + half))


def shares(record: Record, stage: str, bands: str, method: str) -> dict[str, float]:
    """Return the accuracies of a ``method`` in percent by seed."""
    if stage == PROBE:
        found = {
            run["name"][-1]: run["result"][method]["accuracy"]
            for run in _runs(record, PROBE, bands)
        }
    else:
        found = {
            run["name"][2]: run["result"][stage]
            for run in _runs(record, "tuned", bands, method)
        }
    return {seed: 100 * share for seed, share in found.items()}


def difference(
    record: Record,
    stage: str,
    method: str,
    reference: str,
    bands: str = OWN_BANDS,
) -> Interval:
    """Return how far ``method`` is above ``reference`` on the same scenes, in points.

    With exchanged bands, the reference RGB only is the run with the bands of the scene: it reads no others.
    """
    reference_bands = OWN_BANDS if reference == RGB_ONLY else bands
    expected = shares(record, stage, reference_bands, reference)
    found = shares(record, stage, bands, method)
    return interval(share - expected[seed] for seed, share in found.items())


def _runs(record: Record, *wanted: str) -> list[dict[str, Any]]:
    """Return the runs whose names have all words of ``wanted``, in the order of the seeds."""
    return [run for run in record["runs"] if set(wanted) <= set(run["name"])]


def _of(record: Record, stage: str, bands: str, method: str) -> Interval:
    return interval(shares(record, stage, bands, method).values())


def _moments(record: Record, bands: str) -> Interval:
    runs = _runs(record, "statistics")
    return interval(100 * run["result"][bands] for run in runs)


def _changes(record: Record, method: str) -> float:
    runs = _runs(record, PROBE, OWN_BANDS)
    return float(np.mean([run["result"][method]["change"] for run in runs]))


def _probes(record: Record) -> str:
    rows = []
    for method in METHODS:
        cells = [
            f"{_changes(record, method):.2f}",
            _share(_of(record, PROBE, OWN_BANDS, method)),
            _signed(difference(record, PROBE, method, RGB_ONLY)),
            _share(_of(record, PROBE, EXCHANGED, method)),
            _signed(difference(record, PROBE, method, RGB_ONLY, EXCHANGED)),
        ]
        rows.append((method, *cells))
    head = (
        "new bands",
        "change of the features",
        "accuracy",
        "from RGB only",
        "with bands of another scene",
        "from RGB only",
    )
    return table(head, rows)


def _tuned(record: Record) -> str:
    rows = []
    for method in METHODS:
        cells = [
            _share(_of(record, EARLY, OWN_BANDS, method)),
            _share(_of(record, LATE, OWN_BANDS, method)),
            _signed(difference(record, LATE, method, RGB_ONLY)),
            _signed(difference(record, LATE, method, ZERO)),
        ]
        rows.append((method, *cells))
    head = (
        "new bands",
        "after one epoch",
        "fine-tuned",
        "from RGB only",
        "from zero",
    )
    return table(head, rows)


def _tuned_control(record: Record) -> str:
    if not record["settings"]["control"]:
        return ""
    rows = [
        (
            method,
            _share(_of(record, LATE, EXCHANGED, method)),
            _signed(difference(record, LATE, method, RGB_ONLY, EXCHANGED)),
        )
        for method in EXTENDED
    ]
    text = f"\nWith bands of another scene ({len(record['settings']['control'])} seeds):\n\n"
    return text + table(("new bands", "fine-tuned", "from RGB only"), rows) + "\n"


def _share(found: Interval) -> str:
    return f"{found.mean:.1f} % ({found.low:.1f} to {found.high:.1f})"


def _signed(found: Interval) -> str:
    return f"{found.mean:+z.1f} ({found.low:+z.1f} to {found.high:+z.1f})"


def _quoted(record: Record, stage: str) -> dict[str, str]:
    """Return the figures that the prose quotes."""
    figures = {}
    for method in METHODS:
        short = method.replace(" ", "_")
        figures |= {
            short: f"{_of(record, stage, OWN_BANDS, method).mean:.1f}",
            f"{short}_rgb": _signed(difference(record, stage, method, RGB_ONLY)),
            f"{short}_zero": _signed(difference(record, stage, method, ZERO)),
        }
    return figures
