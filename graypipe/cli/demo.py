"""``graypipe demo``: convert sample images, check the results and draw them.

    graypipe demo
    graypipe demo --out pictures/

Each result is compared with the same conversion written in plain NumPy, and both are
timed. The images and a picture of all results are written to the output folder.
"""

from argparse import ArgumentParser, Namespace
from importlib import import_module
from pathlib import Path

from ..demo import picture
from ..demo.checks import RUNS, Result, check
from ..demo.samples import sample_cases
from ..errors import GraypipeError
from ..extras import require_extra


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("graypipe-demo"),
        metavar="DIR",
        help="the output folder, for example pictures/ (default: %(default)s)",
    )


def run(options: Namespace) -> None:
    """Check and print all cases, then draw them.

    Raises
    ------
    GraypipeError
        If a plan and the plain NumPy code give different results.
    """
    _check_packages()
    options.out.mkdir(parents=True, exist_ok=True)
    results = []
    for case in sample_cases(options.out):
        result = check(case)
        results.append(result)
        print(_report(result), end="\n\n")
    failed = [result.case.title for result in results if not result.passed]
    if failed:
        raise GraypipeError(
            f"{len(failed)} of {len(results)} checks failed: {'; '.join(failed)}"
        )
    picture_path = options.out / "graypipe-demo.png"
    picture.draw(results, picture_path)
    print(f"all {len(results)} checks passed; wrote {picture_path}")


def _check_packages() -> None:
    """Raise MissingExtraError before anything is written if a package is missing."""
    packages = ("skimage", "matplotlib")
    with require_extra("demo", *packages):
        for package in packages:
            import_module(package)


def _report(result: Result) -> str:
    """Return the printed report of a case."""
    case = result.case
    verdict = "FAILED"
    if result.passed:
        verdict = "passed"
    ratio = result.reference_time / result.time
    lines = (
        f"{case.title} -> {case.preset}",
        case.plan.explain(case.image.shape, case.image.dtype),
        f"   check  {verdict}: maximum difference {result.difference:.2g} from the "
        f"NumPy reference in float64, tolerance {result.tolerance:.2g}",
        f"    time  medians of {RUNS} runs: plan {result.time * 1e3:.2f} ms, NumPy "
        f"reference in {case.plan.target.dtype} {result.reference_time * 1e3:.2f} ms, "
        f"{ratio:.1f} times as long",
    )
    return "\n".join(lines)
