"""Progress: a bar on stderr where a person looks on, and lines that do not run into it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TextIO


@contextmanager
def progress(
    total: int, lines: TextIO
) -> Iterator[tuple[Callable[[int], object], Callable[[str], object]]]:
    """Yield what counts files that are done, out of ``total``, and what prints a line to ``lines``.

    Without a bar the first does nothing: for a single file, where stderr is no terminal, and, said there, without tqdm.
    """
    seen = total > 1 and sys.stderr.isatty()
    if seen and find_spec("tqdm") is None:
        print(
            'no progress bar without tqdm: pip install "graypipe[io]"', file=sys.stderr
        )
        seen = False
    if not seen:
        yield (lambda _: None), (lambda line: print(line, file=lines))
        return
    with import_module("tqdm").tqdm(total=total, unit="file") as bar:
        yield bar.update, (lambda line: bar.write(line, file=lines))
