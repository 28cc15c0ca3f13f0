"""The table of targets: each goal, its rival, and what the worst cell of the results reached."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from .engines import CONTIGUOUS, NUMPY, OURS
from .results import Record, where

Cells = dict[str, tuple[float, float | None]]
"""By case: what was reached against the rival, and against the fastest hand-written code or None."""

AT_LEAST, AT_MOST = "≥", "≤"


@dataclass(frozen=True)
class Target:
    """A row of the table: a goal for some cells of ``group``."""

    group: str
    what: str
    against: str
    sense: str
    goal: float
    unit: str
    cells: Callable[[Record], Cells]


@dataclass(frozen=True)
class Reached:
    """What the results reach of a target; its worst cell decides."""

    target: Target
    cells: Cells

    @property
    def worst(self) -> str:
        """The cell farthest from the goal."""
        choose = min if self.target.sense == AT_LEAST else max
        return choose(self.cells, key=lambda cell: self.cells[cell][0])

    @property
    def value(self) -> float:
        """What the worst cell reached."""
        return self.cells[self.worst][0]

    @property
    def typical(self) -> float:
        """The median over the cells."""
        return median(value for value, _ in self.cells.values())

    @property
    def by_hand(self) -> float | None:
        """The worst cell against hand-written code."""
        found = [hand for _, hand in self.cells.values() if hand is not None]
        return min(found) if found else None

    @property
    def missed(self) -> list[str]:
        """The cells that do not reach the goal."""
        goal = self.target.goal
        if self.target.sense == AT_LEAST:
            return [cell for cell, (value, _) in self.cells.items() if value < goal]
        return [cell for cell, (value, _) in self.cells.items() if value > goal]


def reached(records: dict[str, Record]) -> Iterator[Reached]:
    """Yield the targets that have a measured cell, in the order of the table."""
    for target in TARGETS:
        cells = target.cells(records[target.group]) if target.group in records else {}
        if cells:
            yield Reached(target, cells)


def fastest(case: dict[str, Any], *kinds: str) -> float | None:
    """Return the median of the fastest contender of some kinds, or None without one."""
    found = [
        figure["median"]
        for figure in case["contenders"].values()
        if figure["kind"] in kinds
    ]
    return min(found) if found else None


def _speedups(
    cases: list[dict[str, Any]], over: str | None = None, ours: str = OURS
) -> Cells:
    """Return the speed of ``ours`` relative to the contender ``over`` or to the fastest peer."""
    cells: Cells = {}
    for case in cases:
        figures = case["contenders"]
        own = figures.get(ours, figures[OURS])["median"]
        rival = figures.get(over, {}).get("median") if over else fastest(case, "peer")
        hand = fastest(case, "hand")
        if rival:
            cells[case["name"]] = (rival / own, hand / own if hand else None)
    return cells


def _slowdowns(cases: list[dict[str, Any]]) -> Cells:
    """Return the time of graypipe relative to the fastest peer."""
    return {
        name: (1 / speedup, None) for name, (speedup, _) in _speedups(cases).items()
    }


def _sized(record: Record, *sizes: str, **facts: str) -> list[dict[str, Any]]:
    return [case for size in sizes for case in where(record, size=size, **facts)]


def _over_floor(record: Record, memory: str) -> Cells:
    floors = {
        case["name"]: (_median(case, OURS), fastest(case, "floor"))
        for case in where(record, memory=memory)
    }
    return {name: (own / floor, None) for name, (own, floor) in floors.items() if floor}


def _over_contiguous(record: Record) -> Cells:
    return {
        f"{case['name']}: {how.removeprefix(OURS + ', ')}": (
            figure["median"] / _median(case, CONTIGUOUS),
            None,
        )
        for case in record["cases"]
        for how, figure in case["contenders"].items()
        if how != CONTIGUOUS
    }


def _own(cases: list[dict[str, Any]]) -> Cells:
    return {case["name"]: (_median(case, OURS), None) for case in cases}


def _held(cases: list[dict[str, Any]]) -> Cells:
    return {
        f"{case['name']}: {name}": (figure["median"], None)
        for case in cases
        for name, figure in case["contenders"].items()
        if figure["kind"] == "ours"
    }


def _growth(cases: list[dict[str, Any]]) -> Cells:
    """Return the bytes by which each contender exceeds the first."""
    figures = [(case["name"], *case["contenders"].items()) for case in cases]
    return {
        f"{case}: {name}": (figure["median"] - first["median"], None)
        for case, (_, first), *others in figures
        for name, figure in others
    }


def _import_ratio(record: Record) -> Cells:
    return {
        case["name"]: (_median(case, OURS) / _median(case, "numpy"), None)
        for case in record["cases"]
    }


def _median(case: dict[str, Any], name: str) -> float:
    found: float = case["contenders"][name]["median"]
    return found


PEER, CHAIN = "the fastest peer of each case", "the fastest public chain"

TARGETS = (
    Target(
        "expand",
        "expand, 224²",
        PEER,
        AT_LEAST,
        1.0,
        "x",
        lambda r: _speedups(_sized(r, "224")),
    ),
    Target(
        "expand",
        "expand, 1024² and batches",
        PEER,
        AT_LEAST,
        0.95,
        "x",
        lambda r: _speedups(_sized(r, "1024", "64x224")),
    ),
    Target(
        "expand",
        "expand, 224², HWC",
        "np.repeat",
        AT_LEAST,
        10,
        "x",
        lambda r: _speedups(_sized(r, "224", layout="HWC"), over="np.repeat"),
    ),
    Target(
        "overhead",
        "expand, 32²",
        "a fixed time per call",
        AT_MOST,
        2e-6,
        "s",
        lambda r: _own(where(r, task="expand")),
    ),
    Target(
        "normalise",
        "gray to normalised, up to 512²",
        CHAIN,
        AT_LEAST,
        8,
        "x",
        lambda r: _speedups(_sized(r, "224", "512", memory="fresh")),
    ),
    Target(
        "normalise",
        "gray to normalised, 1024² and larger",
        CHAIN,
        AT_LEAST,
        4,
        "x",
        lambda r: _speedups(_sized(r, "1024", "2048", memory="fresh")),
    ),
    Target(
        "normalise",
        "gray to normalised, NumPy engine",
        CHAIN,
        AT_LEAST,
        4,
        "x",
        lambda r: _speedups(where(r, memory="fresh"), ours=NUMPY),
    ),
    Target(
        "normalise",
        "gray to normalised, fresh memory",
        "filling the output",
        AT_MOST,
        1.25,
        "x",
        lambda r: _over_floor(r, "fresh"),
    ),
    Target(
        "normalise",
        "gray to normalised, reused memory",
        "filling the output",
        AT_MOST,
        1.25,
        "x",
        lambda r: _over_floor(r, "reused"),
    ),
    Target(
        "mix",
        "RGBY to RGB, HWC",
        PEER,
        AT_LEAST,
        6,
        "x",
        lambda r: _speedups(where(r, task="merge", layout="HWC")),
    ),
    Target(
        "mix",
        "RGBY to RGB, CHW",
        PEER,
        AT_LEAST,
        2.5,
        "x",
        lambda r: _speedups(where(r, task="merge", layout="CHW")),
    ),
    Target(
        "mix",
        "3 of 13 bands, uint16",
        PEER,
        AT_LEAST,
        2,
        "x",
        lambda r: _speedups(where(r, task="pick")),
    ),
    Target(
        "strided",
        "crop, flip, Fortran order",
        "the contiguous image",
        AT_MOST,
        1.5,
        "x",
        _over_contiguous,
    ),
    Target(
        "overhead",
        "gray to normalised, 32², CHW",
        "torchvision v2 chain",
        AT_LEAST,
        10,
        "x",
        lambda r: _speedups(where(r, task="normalise"), over="torchvision v2 chain"),
    ),
    Target(
        "overhead",
        "gray to normalised, 32²",
        "albumentations chain",
        AT_LEAST,
        4,
        "x",
        lambda r: _speedups(where(r, task="normalise"), over="albumentations chain"),
    ),
    Target(
        "torchvision",
        "Compose([ToBackbone]), a tensor",
        "torchvision v2 chain",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(where(r, task="tensor")),
    ),
    Target(
        "torchvision",
        "Compose([ToBackbone]), a PIL image",
        "torchvision v1 chain",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(
            where(r, task="PIL"), over="v1: Grayscale(3), ToTensor, Normalize"
        ),
    ),
    Target(
        "loader",
        "DataLoader, ToBackbone after it",
        "v2 chain in the workers",
        AT_LEAST,
        3,
        "x",
        lambda r: _speedups(where(r, task="loader"), over="v2 chain in the workers"),
    ),
    Target(
        "loader",
        "DataLoader, reused out=",
        "v2 chain in the workers",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(
            where(r, task="loader"),
            over="v2 chain in the workers",
            ours="graypipe, reused out=",
        ),
    ),
    Target(
        "albumentations",
        "Compose([ToBackbone, ToTensorV2])",
        "ToRGB + Normalize + ToTensorV2, albumentations",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(r["cases"]),
    ),
    Target(
        "albumentationsx",
        "Compose([ToBackbone, ToTensorV2])",
        "ToRGB + Normalize + ToTensorV2, AlbumentationsX",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(r["cases"]),
    ),
    Target(
        "tf_data",
        "Dataset.map, batches",
        "tf.image chain",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(where(r, task="batched")),
    ),
    Target(
        "tf_data",
        "Dataset.map, per image",
        "tf.image chain",
        AT_LEAST,
        5,
        "x",
        lambda r: _speedups(where(r, task="per image")),
    ),
    Target(
        "files",
        "read, files of 512²",
        "the fastest decoder",
        AT_MOST,
        1.5,
        "x",
        lambda r: _slowdowns(where(r, task="array", size="512")),
    ),
    Target(
        "files",
        "read, files of 2048²",
        "the fastest decoder",
        AT_MOST,
        1.2,
        "x",
        lambda r: _slowdowns(where(r, task="array", size="2048")),
    ),
    Target(
        "files",
        "JPEG file to normalised, 256²",
        "Pillow, convert, NumPy",
        AT_LEAST,
        3,
        "x",
        lambda r: _speedups(where(r, task="normalised", format="JPEG")),
    ),
    Target(
        "files",
        "PNG file to normalised, 256²",
        "Pillow, convert, NumPy",
        AT_LEAST,
        2.5,
        "x",
        lambda r: _speedups(where(r, task="normalised", format="PNG")),
    ),
    Target(
        "convert",
        "graypipe convert, PNG to npy",
        "a script with Pillow, NumPy and a process pool",
        AT_LEAST,
        1.5,
        "x",
        lambda r: _speedups(where(r, task="convert")),
    ),
    Target(
        "convert",
        "peak memory of graypipe convert",
        "peak memory with the fewest files",
        AT_MOST,
        2**24,
        "B",
        lambda r: _growth(where(r, task="memory")),
    ),
    Target(
        "views",
        "zero-copy expand",
        "a fixed amount of additional memory",
        AT_MOST,
        0,
        "B",
        lambda r: _held(where(r, "held")),
    ),
    Target(
        "imports", "import graypipe", "import numpy", AT_MOST, 1.2, "x", _import_ratio
    ),
    Target(
        "peaks",
        "peak memory of a call",
        "a fixed amount of memory beyond the output",
        AT_MOST,
        65536,
        "B",
        lambda r: _own(r["cases"]),
    ),
)
