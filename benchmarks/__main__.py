"""``python -m benchmarks``: measure, or write the pages from what was measured."""

import argparse
import tempfile
from pathlib import Path

from . import threads


def main() -> None:
    threads.pin_environment()  # before anything imports NumPy
    arguments = _parser().parse_args()
    if arguments.what == "report":
        from . import page_tables, report, results

        written = report.write(arguments.out or results.RECORD, arguments.docs)
        for path in written + page_tables.write(arguments.docs):
            print(path)
    else:
        _measure(arguments)


def _measure(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from . import groups, results, running, scale

    threads.pin_libraries()
    size = scale.QUICK if arguments.quick else scale.FULL
    folder = arguments.out or (
        _temporary_folder() if arguments.quick else results.RECORD
    )
    chosen = arguments.only or groups.GROUPS
    with tqdm(
        total=sum(len(groups.cases(group, size)) for group in chosen), unit="case"
    ) as bar:

        def done(case: str) -> None:
            bar.set_postfix_str(case)
            bar.update()

        for group in chosen:
            bar.set_description(group)
            results.write(running.run(group, size, done), folder)
    print(f"results in {folder}")


def _temporary_folder() -> Path:
    """Return a temporary folder for the results of a quick run."""
    return Path(tempfile.mkdtemp(prefix="graypipe-benchmarks-"))


def _parser() -> argparse.ArgumentParser:
    from .groups import ELSEWHERE, GROUPS

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["measure", "report"], default="measure"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds and no large images; results go to a temporary folder (minutes)",
    )
    known = (*GROUPS, *ELSEWHERE)
    parser.add_argument(
        "--only",
        action="append",
        choices=known,
        metavar="GROUP",
        help="this group; repeatable",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder of result files (default: the record)",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        default=Path("docs"),
        metavar="DIR",
        help="where `report` writes pages",
    )
    return parser


if __name__ == "__main__":
    main()
