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
from argparse import Action, ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from ..errors import GraypipeError

# The exit code of a command that Ctrl-C ended: 128 + SIGINT, as in shells.
INTERRUPTED = 130

# Each command is a module with the functions add_arguments(parser) and run(options).
# Only the module of the chosen command is imported, so that commands start fast.
COMMANDS = {
    "convert": "convert all images of a folder with a plan",
    "demo": "convert sample images, check the results and draw them",
    "explain": "describe what a plan does with an image",
    "export": "write a plan as an ONNX model, alone or in front of a model",
    "inspect": "list image files, how they are read, and likely problems",
    "show": "draw what a plan does to an image, and what mistakes would do",
    "stats": "compute the statistics of every band of a data set",
}


class UsageError(Exception):
    """The command line arguments are wrong."""


class Parser(ArgumentParser):
    """An argument parser that raises UsageError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with a one-line message."""
        raise UsageError(f"{message} (see {self.prog} --help)")


class PrintVersion(Action):
    """Print the version of the installed package and exit."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Look up the version, which takes too long to do it for every command."""
        from importlib import metadata

        try:
            version = metadata.version("graypipe")
        except metadata.PackageNotFoundError:
            version = "(version unknown: not installed)"
        print("graypipe", version)
        parser.exit()


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
    # Without arguments, this is the entry point of the process, and nothing else runs
    # in it.
    owns_process = argv is None
    if argv is None:
        argv = sys.argv[1:]
    try:
        options = _build_parser(argv).parse_args(argv)
        options.owns_process = owns_process
        # What was typed after the name of the command.
        options.words = list(argv[1:])
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


def _build_parser(argv: Sequence[str]) -> Parser:
    """Return a parser of all commands, with the options of those in ``argv``."""
    parser = Parser(
        prog="graypipe",
        description="Convert gray and multi-spectral images for pretrained RGB models.",
    )
    parser.add_argument(
        "--version",
        action=PrintVersion,
        nargs=0,
        help="show program's version number and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        subparser = commands.add_parser(name, help=summary, description=description)
        if name in argv:
            command = import_module(f".{name}", __name__)
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    return parser


def _report_failure(error: object, exit_code: int) -> int:
    """Print ``error`` as one line on stderr and return ``exit_code``."""
    # A pipe is closed when its reader exits, as in "graypipe inspect | head".
    if not isinstance(error, BrokenPipeError):
        print("graypipe: error:", " ".join(str(error).split()), file=sys.stderr)
    return exit_code
