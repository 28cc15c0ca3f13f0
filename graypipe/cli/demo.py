"""``graypipe demo``: real images through plans, checked against the chains people write by hand, timed and drawn."""

from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

from .. import plan
from ..demo import chains, picture, samples
from ..demo.checks import RUNS, Case, Result, check
from ..errors import GraypipeError, MissingExtraError

PACKAGES = {"skimage": "scikit-image", "matplotlib": "matplotlib"}

MERGE: dict[str, str | dict[str, float]] = {
    "R": {"R": 0.5, "Y": 0.5},
    "G": {"G": 0.5, "Y": 0.5},
    "B": "B",
}
"""Yellow light is seen by the red and by the green receptors: half of it goes to each."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("graypipe-demo"),
        metavar="DIR",
        help="where files go (default: %(default)s)",
    )


def run(options: Namespace) -> None:
    """Print and draw every case; GraypipeError where a plan gives something else than the chain written by hand."""
    _check_packages()
    options.out.mkdir(parents=True, exist_ok=True)
    results = []
    for case in _cases(options.out):
        results.append(check(case))
        print(_report(results[-1]), end="\n\n")
    failed = [result.case.title for result in results if not result.passed]
    if failed:
        raise GraypipeError(
            f"{len(failed)} of {len(results)} checks failed: {'; '.join(failed)}"
        )
    drawn = options.out / "graypipe-demo.png"
    picture.draw(results, drawn)
    print(f"all {len(results)} checks passed, picture: {drawn}")


def _check_packages() -> None:
    missing = [
        package for module, package in PACKAGES.items() if find_spec(module) is None
    ]
    if missing:
        raise MissingExtraError(
            f'the demo needs {" and ".join(missing)}: pip install "graypipe[demo]"'
        )


def _cases(folder: Path) -> list[Case]:
    camera, source = samples.photograph(folder, "camera")
    cases = [
        Case(
            "camera: a photograph, 8 bits",
            camera,
            plan(source, "imagenet"),
            "imagenet",
            chains.gray8_to_imagenet,
        )
    ]
    coins, source = samples.deep_photograph(folder, "coins")
    caffe = plan(source, "keras-caffe")
    cases.append(
        Case(
            "coins: a photograph, enlarged in 16 bits",
            coins,
            caffe,
            "keras-caffe",
            chains.gray16_to_caffe,
        )
    )
    moon, source = samples.photograph(folder, "moon")
    cases.append(
        Case(
            "moon: a photograph, 8 bits",
            moon,
            plan(source, "rgb8"),
            "rgb8",
            chains.gray8_to_rgb8,
        )
    )
    cells, source = samples.drawn_cells(folder)
    merged = plan(source, "imagenet", via=MERGE)
    cases.append(
        Case(
            "cells: SYNTHETIC, drawn in 12 bits",
            cells,
            merged,
            "imagenet",
            chains.rgby12_to_imagenet,
        )
    )
    return cases


def _report(result: Result) -> str:
    plan, dtype = result.case.plan, result.case.plan.target.dtype
    verdict = "passed" if result.passed else "FAILED"
    ratio = result.time_by_hand / result.time
    return "\n".join(
        (
            f"{result.case.title} -> {result.case.preset}",
            plan.explain(result.case.image.shape, result.case.image.dtype),
            f"   check  {verdict}: largest difference {result.difference:.2g} to the chain by hand in float64, "
            f"tolerance {result.tolerance:.2g}",
            f"    time  {result.time * 1e3:.2f} ms, the chain by hand {result.time_by_hand * 1e3:.2f} ms in {dtype}: "
            f"{ratio:.1f} times as long (medians of {RUNS} runs)",
        )
    )
