"""The section of the page: text from ``section.md``, figures and picture from the results."""

from math import sqrt
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from matplotlib.figure import Figure as Picture
from scipy.stats import binomtest, norm

from .. import provenance
from ..plots import OTHER, OWN
from ..results import Record
from ..writing import table
from .experiment import AS_IT_IS, RE_EXPRESSED
from .methods import (
    COLOUR,
    EXACT,
    FOLDED,
    LUMINANCE,
    LUMINANCE_TIMES_3,
    SUMMED,
    THREE_BANDS,
)

SHORT = {
    COLOUR: "colour",
    THREE_BANDS: "gray",
    SUMMED: "summed",
    FOLDED: "folded",
    EXACT: "exact",
    LUMINANCE: "luminance",
    LUMINANCE_TIMES_3: "times_3",
}


class Paired(NamedTuple):
    """Photographs that only gray as three bands, or only the other method, gets right; their difference in points."""

    lost: int
    gained: int
    points: float
    low: float
    high: float
    p: float


def section(record: Record) -> str:
    """Return the section for ``record``."""
    template = Template(
        (Path(__file__).parent / "section.md").read_text(encoding="utf-8")
    )
    part = record["networks"][RE_EXPRESSED]
    return template.substitute(
        warning=provenance.warning([record]),
        machine=provenance.machine(record),
        count=f"{record['photographs']['count']:,}",
        accuracy=_accuracy(record),
        differences=_differences(record),
        colour_difference=f"{part['colour_difference']:.2f}",
        largest=f"{part['largest_logit']:.0f}",
        **_quoted(record),
    )


def picture(record: Record) -> Picture:
    """Return the accuracies with their intervals; lines mark gray as three bands."""
    names = list(record["networks"][AS_IT_IS]["methods"])[::-1]
    drawn = Picture(figsize=(7, 3.2))
    axes = drawn.subplots()
    styles = ((0.15, OTHER, AS_IT_IS), (-0.15, OWN, RE_EXPRESSED))
    for shift, color, network in styles:
        for row, name in enumerate(names):
            share, low, high = top_1(record, network, name)
            axes.plot([low, high], [row + shift] * 2, color=color, linewidth=1.5)
            axes.plot(share, row + shift, "o", color=color, markersize=5)
        reference = top_1(record, network, THREE_BANDS)[0]
        axes.axvline(reference, color=color, linewidth=0.8, linestyle=":")
        axes.plot([], [], "o-", color=color, label=f"network {network}")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("top-1 accuracy with 95 % interval, %")
    axes.legend(frameon=False, loc="lower right")
    return drawn


def top_1(record: Record, network: str, method: str) -> tuple[float, float, float]:
    """Return the accuracy in percent, and the bounds of its 95 % Wilson interval."""
    count = record["photographs"]["count"]
    right = count - len(_wrong(record, network, method))
    interval = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return 100 * right / count, 100 * interval.low, 100 * interval.high


def paired(record: Record, network: str, method: str) -> Paired:
    """Compare ``method`` with gray as three bands on the same photographs."""
    reference = _wrong(record, network, THREE_BANDS)
    wrong = _wrong(record, network, method)
    lost, gained = len(wrong - reference), len(reference - wrong)
    count = record["photographs"]["count"]
    low, high = paired_interval(lost, gained, count)
    p = 1.0
    if lost + gained:
        p = binomtest(gained, lost + gained).pvalue
    points = 100 * (gained - lost) / count
    return Paired(lost, gained, points, 100 * low, 100 * high, p)


def paired_interval(lost: int, gained: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of paired proportions: the adjusted Wald interval of Bonett and Price.

    Each kind of discordant pair counts one more than there are, so that the interval has a width without any.
    """
    losses, gains = (lost + 1) / (count + 2), (gained + 1) / (count + 2)
    centre = gains - losses
    half = norm.ppf(0.975) * sqrt((losses + gains - centre**2) / (count + 2))
    return centre - half, centre + half


def _top_5(record: Record, network: str, method: str) -> float:
    outcome = _outcomes(record, network)[method]
    return 100 * float(outcome["in_top_5"]) / float(record["photographs"]["count"])


def _wrong(record: Record, network: str, method: str) -> set[int]:
    return set(_outcomes(record, network)[method]["wrong"])


def _outcomes(record: Record, network: str) -> dict[str, Any]:
    outcomes: dict[str, Any] = record["networks"][network]["methods"]
    return outcomes


def _accuracy(record: Record) -> str:
    rows = []
    for name in _outcomes(record, RE_EXPRESSED):
        shares = [_interval(record, network, name) for network in record["networks"]]
        top_5 = f"{_top_5(record, RE_EXPRESSED, name):.1f} %"
        rows.append((name, *shares, top_5))
    return table(("method", *record["networks"], "re-expressed, top-5"), rows)


def _interval(record: Record, network: str, method: str) -> str:
    share, low, high = top_1(record, network, method)
    return f"{share:.1f} % ({low:.1f} to {high:.1f})"


def _differences(record: Record) -> str:
    rows = []
    for network in record["networks"]:
        for name, outcome in _outcomes(record, network).items():
            if name != THREE_BANDS:
                rows.append(
                    (network, name, *_row(paired(record, network, name), outcome))
                )
    head = (
        "network",
        "method",
        "lost",
        "gained",
        "difference (95 % interval)",
        "p",
        "same class",
        "largest difference of a logit",
    )
    return table(head, rows, text=2)


def _row(found: Paired, outcome: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(found.lost),
        str(found.gained),
        f"{found.points:+z.1f} ({found.low:+z.1f} to {found.high:+z.1f})",
        "< 0.0001" if found.p < 0.0001 else f"{found.p:.2g}",
        f"{100 * outcome['agreement']:.1f} %",
        f"{outcome['largest_difference']:.2g}",
    )


def _quoted(record: Record) -> dict[str, str]:
    """Return the figures that the prose quotes: those of the re-expressed network."""
    figures = {}
    for name, short in SHORT.items():
        found = paired(record, RE_EXPRESSED, name)
        figures |= {
            f"{short}_top_1": f"{top_1(record, RE_EXPRESSED, name)[0]:.1f}",
            short: f"{found.points:+z.1f}",
            f"{short}_low": f"{found.low:+z.1f}",
            f"{short}_high": f"{found.high:+z.1f}",
            f"{short}_lost": f"{-found.points:z.1f}",
            f"{short}_top_5": f"{_top_5(record, RE_EXPRESSED, name):.1f}",
        }
    colour = paired(record, RE_EXPRESSED, COLOUR)
    return figures | {"gray_lost": f"{colour.points:z.1f}"}
