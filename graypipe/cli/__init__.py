"""The command line of graypipe.

    graypipe convert IMAGES OUT --source gray --target imagenet --to npy
    graypipe demo
    graypipe explain --source gray:12 --target imagenet
    graypipe export --plan plan.json --model model.onnx --to deployed.onnx
    graypipe inspect IMAGES
    graypipe show IMAGE --source gray:12 --target imagenet
    graypipe stats IMAGES --source gray
    graypipe --version

The exit code is 0 if the command succeeds, 1 if it fails, and 2 if the arguments are
wrong. Errors are reported as one line on stderr.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from ..errors import GraypipeError
from . import convert, demo, explain, export, inspect, show, stats

# The exit code of a command that Ctrl-C ended: 128 + SIGINT, as in shells.
INTERRUPTED = 130

# Each command is a module with the functions add_arguments(parser) and run(options).
COMMANDS = {
    "convert": (convert, "convert all images of a folder with a plan"),
    "demo": (demo, "convert sample images, check the results and draw them"),
    "explain": (explain, "describe what a plan does with an image"),
    "export": (export, "write a plan as an ONNX model, alone or in front of a model"),
    "inspect": (inspect, "list image files, how they are read, and likely problems"),
    "show": (show, "draw what a plan does to an image, and what mistakes would do"),
    "stats": (stats, "compute the statistics of every band of a data set"),
}


class UsageError(Exception):
    """The command line arguments are wrong."""


class Parser(ArgumentParser):
    """An argument parser that raises UsageError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with a one-line message."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line arguments, by default ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit code.
    """
    exit_code = _run_command(argv)
    try:
        # Flush now, while a closed pipe or a full disk can still be reported.
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes stdout again at exit, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code or _report_failure(error, 1)
    return exit_code


def _run_command(argv: Sequence[str] | None) -> int:
    """Parse ``argv``, run the command and return the exit code."""
    try:
        options = _build_parser().parse_args(argv)
        options.run(options)
    except SystemExit:
        # --help and --version exit after printing; wrong arguments raise UsageError.
        return 0
    except UsageError as error:
        return _report_failure(error, 2)
    except (GraypipeError, ImportError, OSError, UnicodeError) as error:
        return _report_failure(error, 1)
    except KeyboardInterrupt:
        return _report_failure("interrupted", INTERRUPTED)
    return 0


def _build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="graypipe",
        description="Convert gray and multi-spectral images for pretrained RGB models.",
    )
    parser.add_argument("--version", action="version", version=f"graypipe {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (command, summary) in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        subparser = commands.add_parser(name, help=summary, description=description)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _version() -> str:
    """Return the version of the installed package."""
    try:
        return metadata.version("graypipe")
    except metadata.PackageNotFoundError:
        return "(version unknown: not installed)"


def _report_failure(error: object, exit_code: int) -> int:
    """Print ``error`` as one line on stderr and return ``exit_code``."""
    # A pipe is closed when its reader exits, as in "graypipe inspect | head".
    if not isinstance(error, BrokenPipeError):
        print("graypipe: error:", " ".join(str(error).split()), file=sys.stderr)
    return exit_code
