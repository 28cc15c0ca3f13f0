"""``python -m benchmarks.new_bands --images DIR``: the accuracy of each way to initialise the kernels of new bands."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import threads

RECORD = Path(__file__).parents[1] / "results" / "new_bands.json"


def main(arguments: Sequence[str] | None = None) -> None:
    threads.pin_environment()  # before anything imports NumPy
    given = _parser().parse_args(arguments)
    import torch
    from tqdm import tqdm

    from .. import results
    from ..imagenet import photographs, pretrained
    from . import experiment, spectra

    torch.set_num_threads(1)
    settings = experiment.QUICK if given.quick else experiment.FULL
    unfinished = given.out.with_suffix(".runs")
    try:
        model = pretrained.load()
        library = spectra.load()
        images = photographs.read(given.images)
        made = experiment.Experiment(settings, model, images, library)
        identity = experiment.identity(settings, model, images, library)
        experiment.start_runs(unfinished, identity)
    except (ModuleNotFoundError, FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    with tqdm(total=len(list(experiment.steps(settings))), unit="run") as bar:
        runs = experiment.measure(made, unfinished, bar.update)
    record = experiment.record(settings, identity, runs)
    results.save(record, given.out)
    unfinished.unlink()
    print(given.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.new_bands",
        description=__doc__,
        epilog="A measurement that was stopped continues where it was, from the file with the suffix .runs.",
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="JPEG files whose names begin with the index of their class, 0 to 999",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two seeds and few scenes (a minute)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=RECORD,
        metavar="FILE",
        help="the result file (default: the record)",
    )
    return parser


if __name__ == "__main__":
    main()
