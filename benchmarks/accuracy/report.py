"""The page of the experiment: text from ``page.md``, figures and pictures from the results."""

from collections.abc import Callable, Iterable
from functools import reduce
from operator import getitem
from pathlib import Path
from statistics import mean, stdev
from string import Template

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from .. import provenance
from ..imagenet import report as imagenet
from ..new_bands import report as new_bands
from ..plots import OTHER, OWN, STYLE
from ..results import Record
from ..writing import table
from .variants import COLOUR, EXACT, FOLDED, ONE_BAND, SUMMED, THREE_BANDS

STAGES = {"before": "before fine-tuning", "after": "after fine-tuning"}
PLACES = {"padded": "zero padding", "inside": "inside", "unpadded": "unpadded"}


def write(
    record: Record, pretrained: Record, extended: Record, docs: Path
) -> list[Path]:
    """Write page and pictures under ``docs``; return their paths.

    ``record`` is of the small network, ``pretrained`` of the one with ImageNet weights, ``extended`` of that one with
    more bands.
    """
    text, images = docs / "accuracy.md", docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    text.write_text(page(record, pretrained, extended), encoding="utf-8")
    paths = [text]
    with mpl.rc_context(STYLE):
        drawn = {
            "accuracy": _picture(record),
            "accuracy-imagenet": imagenet.picture(pretrained),
            "accuracy-new-bands": new_bands.picture(extended),
        }
        for name, picture in drawn.items():
            paths.append(images / f"{name}.png")
            picture.savefig(paths[-1], dpi=130, metadata={"Software": None})
    return paths


def page(record: Record, pretrained: Record, extended: Record) -> str:
    """Return the page for the three records."""
    template = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8"))
    settings, names = record["settings"], record["photographs"]
    return template.substitute(
        imagenet=imagenet.section(pretrained),
        new_bands=new_bands.section(extended),
        warning=provenance.warning([record]),
        machine=provenance.machine(record),
        photographs=len(names),
        names=", ".join(names),
        chance=f"{100 / len(names):.0f} %",
        tested=f"{settings['held_out'] * len(names):,}",
        accuracy=_accuracy(record),
        differences=_differences(record),
        largest=f"{max(run['largest_logit'] for run in record['runs']):.0f}",
        logits=_logits(record),
        stem=_stem(record),
        **{
            name: settings[name]
            for name in (
                "seeds",
                "patches",
                "epochs",
                "rate",
                "tuning_epochs",
                "tuning_rate",
            )
        },
        **_quoted(record),
    )


def _accuracy(record: Record) -> str:
    ways = record["runs"][0]["accuracy"]
    rows = (
        (way, *(_percent(_shares(record, way, stage)) for stage in STAGES))
        for way in ways
    )
    return table(("method", *STAGES.values()), rows)


def _differences(record: Record) -> str:
    rows = (
        (way, *(_range(_against(record, way, stage)) for stage in STAGES))
        for way in ONE_BAND
    )
    return table(("method", *STAGES.values()), rows)


def _logits(record: Record) -> str:
    rows = (
        (
            way,
            f"{_worst(record, max, 'logits', way):.2g}",
            f"{100 * _worst(record, min, 'agreement', way):.2f} %",
        )
        for way in ONE_BAND
    )
    return table(
        ("method", "largest difference of a logit", "same class (worst network)"), rows
    )


def _stem(record: Record) -> str:
    columns = [(kernel, place) for kernel in ("random", "trained") for place in PLACES]
    rows = (
        (
            way,
            *(
                f"{_worst(record, max, 'stem', k, way, place):.1e}"
                for k, place in columns
            ),
        )
        for way in ONE_BAND
    )
    return table(
        ("method", *(f"{kernel}, {PLACES[place]}" for kernel, place in columns)), rows
    )


def _quoted(record: Record) -> dict[str, str]:
    """Return the figures that the prose quotes: mean differences from gray as three bands, in points."""
    short = {SUMMED: "summed", FOLDED: "folded", EXACT: "exact", COLOUR: "colour"}
    points = {
        f"{name}_{stage}": mean(_against(record, way, stage))
        for way, name in short.items()
        for stage in STAGES
    }
    points |= {f"gray_{stage}": -points.pop(f"colour_{stage}") for stage in STAGES}
    after = [points[f"{short[way]}_after"] for way in ONE_BAND]
    return {name: f"{value:+z.1f}" for name, value in points.items()} | {
        "apart": f"{max(after) - min(after):.2f}"
    }


def _shares(record: Record, way: str, stage: str) -> list[float]:
    return [run["accuracy"][way][stage] for run in record["runs"]]


def _against(record: Record, way: str, stage: str) -> list[float]:
    """Return the differences from gray as three bands within each network, in points."""
    both = zip(
        _shares(record, way, stage), _shares(record, THREE_BANDS, stage), strict=True
    )
    return [100 * (share - right) for share, right in both]


def _worst(
    record: Record, worst: Callable[[Iterable[float]], float], *keys: str
) -> float:
    """Return the worst over the networks of the figure at ``keys``."""
    return worst(reduce(getitem, keys, run) for run in record["runs"])


def _percent(shares: list[float]) -> str:
    return f"{100 * mean(shares):.1f} ± {100 * stdev(shares):.1f} %"


def _range(points: list[float]) -> str:
    return f"{mean(points):+z.1f} ± {stdev(points):.1f} ({min(points):+z.1f} to {max(points):+z.1f})"


def _picture(record: Record) -> Picture:
    picture = Picture(figsize=(7, 3.2))
    axes = picture.subplots()
    ways = list(record["runs"][0]["accuracy"])[::-1]
    for shift, (stage, label), color in zip(
        (0.15, -0.15), STAGES.items(), (OTHER, OWN), strict=True
    ):
        for row, way in enumerate(ways):
            shares = [100 * share for share in _shares(record, way, stage)]
            axes.plot(
                shares,
                [row + shift] * len(shares),
                "o",
                color=color,
                markersize=4,
                alpha=0.6,
            )
            axes.plot(
                [mean(shares)] * 2,
                [row + shift - 0.12, row + shift + 0.12],
                color=color,
                linewidth=2.5,
            )
        axes.plot([], [], "o-", color=color, label=label)
    axes.set_yticks(range(len(ways)), ways)
    axes.set_xlim(0, 100)
    axes.set_xlabel(
        "accuracy on held-out patches, % (one point per network; the bar is their mean)"
    )
    axes.legend(frameon=False, loc="lower right")
    return picture
