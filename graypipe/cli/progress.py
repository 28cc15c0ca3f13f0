"""A progress bar on stderr that does not get mixed up with printed lines."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TextIO

from ..errors import MissingExtraError
from ..extras import require_extra


@contextmanager
def progress_bar(
    total: int, lines: TextIO
) -> Iterator[tuple[Callable[[int], object], Callable[[str], object]]]:
    """Show a progress bar if stderr is a terminal and there is more than one file.

    Without tqdm, a line on stderr says that there is no bar.

    Parameters
    ----------
    total : int
        The number of files.
    lines : file object
        The stream to which lines are printed.

    Yields
    ------
    advance : callable
        Called with the number of files that have been processed since the last call.
    print_line : callable
        Prints a line above the bar.
    """

    def print_line(line: str) -> None:
        print(line, file=lines)

    def advance(_: int) -> None:
        """Do nothing: there is no bar."""

    # In a log file, the control characters of a bar would be noise.
    if total <= 1 or not sys.stderr.isatty():
        yield advance, print_line
        return
    try:
        with require_extra("io", "tqdm"):
            tqdm = import_module("tqdm").tqdm
    except MissingExtraError as error:
        print(f"progress bar disabled ({error})", file=sys.stderr)
        yield advance, print_line
        return
    # No thread that redraws the bar: worker processes may be forked below.
    tqdm.monitor_interval = 0
    with tqdm(total=total, unit="file", miniters=1) as bar:

        def print_above_bar(line: str) -> None:
            bar.write(line, file=lines)

        yield bar.update, print_above_bar
