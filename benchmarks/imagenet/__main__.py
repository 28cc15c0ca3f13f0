"""``python -m benchmarks.imagenet --images DIR``: the top-1 accuracy of pretrained weights on gray photographs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import threads

RECORD = Path(__file__).parents[1] / "results" / "imagenet.json"


def main(arguments: Sequence[str] | None = None) -> None:
    threads.pin_environment()  # before anything imports NumPy
    given = _parser().parse_args(arguments)
    import torch
    from tqdm import tqdm

    from .. import results
    from . import experiment, photographs, pretrained

    torch.set_num_threads(1)
    try:
        model = pretrained.load()
        images = photographs.read(given.images, given.limit)
    except (ModuleNotFoundError, FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    with tqdm(unit="method") as bar:
        found = experiment.measure(model.network, model.target, images, bar.update)
    record = experiment.record(model, images, found)
    results.save(record, given.out)
    print(given.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imagenet", description=__doc__
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="JPEG files whose names begin with the index of their class, 0 to 999",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only the first N photographs"
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
