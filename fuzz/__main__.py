"""The command line of the fuzzer: ``python -m fuzz``."""

import argparse
import sys

from .runner import TARGETS, run


def main(argv: list[str] | None = None) -> int:
    """Fuzz the chosen targets; return 1 if a case failed."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description="Fuzz graypipe."
    )
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help=f"any of {', '.join(TARGETS)}; all by default",
    )
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="time for each target (default: 1)"
    )
    parser.add_argument(
        "--cases",
        type=int,
        help="number of cases for each target, whatever time they take",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="another seed gives other cases (default: 0)",
    )
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help="number of the first case, to repeat a failure",
    )
    options = parser.parse_args(argv)
    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown:
        parser.error(f"unknown target {unknown[0]!r}: expected {', '.join(TARGETS)}")
    seconds = 60 * options.minutes
    if options.cases is not None:
        seconds = float("inf")
    failures = 0
    for target in options.targets or TARGETS:
        failures += run(target, options.seed, options.first, options.cases, seconds)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
