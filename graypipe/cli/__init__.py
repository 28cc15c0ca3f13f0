"""The command line: ``graypipe convert``, ``demo``, ``explain``, ``inspect``, ``stats``, and ``graypipe --version``.

Exit codes: 0 done; 1 the job failed; 2 the command line cannot be read. An error is one line on stderr.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from ..errors import GraypipeError
from . import convert, demo, explain, inspect, stats

COMMANDS = {
    "convert": (convert, "put every image of a folder through a plan, into files"),
    "demo": (demo, "run real images through plans, check the results and draw them"),
    "explain": (explain, "say what a plan will do with an image"),
    "inspect": (
        inspect,
        "say what image files are, how they would be read, and what looks wrong",
    ),
    "stats": (stats, "gather the statistics of a data set, per band"),
}


class UsageError(Exception):
    """A command line that cannot be read."""


class Parser(ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage and ending the process."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (None: that of the process) and return its exit code."""
    code = _exit_code(argv)
    try:
        print(
            end="", flush=True
        )  # now, while a closed pipe or a full disk can still be answered
    except OSError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter fails over it once more
        return code or _failed(error, 1)
    return code


def _exit_code(argv: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(argv)
        options.run(options)
    except (
        SystemExit
    ):  # --help and --version have printed what was asked; errors are UsageError
        return 0
    except UsageError as error:
        return _failed(error, 2)
    except (GraypipeError, ImportError, OSError, UnicodeError) as error:
        return _failed(error, 1)
    except KeyboardInterrupt:
        return _failed("interrupted", 1)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="graypipe",
        description="Gray and multi-spectral images, as a pretrained backbone expects them.",
    )
    parser.add_argument("--version", action="version", version=f"graypipe {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (command, what) in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}."
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _version() -> str:
    try:
        return metadata.version("graypipe")
    except metadata.PackageNotFoundError:
        return "(version unknown: not installed)"


def _failed(error: object, code: int) -> int:
    if not isinstance(
        error, BrokenPipeError
    ):  # whoever read the output has gone, which is no news to anybody
        print("graypipe: error:", " ".join(str(error).split()), file=sys.stderr)
    return code
