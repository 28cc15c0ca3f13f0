"""``python -m benchmarks.accuracy``: train and test, or write the page from what was measured."""

import argparse
import json
from pathlib import Path

from .. import threads
from ..imagenet.__main__ import RECORD as PRETRAINED
from ..new_bands.__main__ import RECORD as NEW_BANDS

RECORD = Path(__file__).parents[1] / "results" / "accuracy.json"


def main() -> None:
    threads.pin_environment()  # before anything imports NumPy
    arguments = _parser().parse_args()
    if arguments.what == "report":
        from . import report

        records = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in (arguments.out, PRETRAINED, NEW_BANDS)
        ]
        for path in report.write(*records, arguments.docs):
            print(path)
    else:
        _measure(arguments.out, arguments.quick)


def _measure(path: Path, quick: bool) -> None:
    import torch
    from tqdm import tqdm

    from .. import results
    from . import experiment

    torch.set_num_threads(1)
    settings = experiment.QUICK if quick else experiment.FULL
    with tqdm(total=settings.seeds, unit="network") as bar:
        record = experiment.record(settings, bar.update)
    results.save(record, path)
    print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__
    )
    parser.add_argument(
        "what", nargs="?", choices=["measure", "report"], default="measure"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two networks that are barely trained (seconds)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=RECORD,
        metavar="FILE",
        help="the result file (default: the record)",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        default=Path("docs"),
        metavar="DIR",
        help="where `report` writes",
    )
    return parser


if __name__ == "__main__":
    main()
