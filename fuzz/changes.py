"""Image files that another process truncates or overwrites while they are read.

The file changes right after one of the reads of its decoder. Formats with checksums give
the old image, the new one or an error. Of the others, which may mix old and new pixels,
only errors are tested.
"""

# mypy: ignore-errors

import os
import tempfile
import warnings
from functools import cache
from io import FileIO
from pathlib import Path

import numpy as np

import graypipe as gp

from .files import FORMATS, WITH_CHECKSUMS, written


class ChangingFile(FileIO):
    """A file that calls ``change`` after a number of reads."""

    def __init__(self, path, reads, change):
        super().__init__(path)
        self.remaining = reads
        self.change = change

    def _count(self):
        self.remaining -= 1
        if self.remaining == 0:
            self.change()

    def read(self, size=-1):
        content = super().read(size)
        self._count()
        return content

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self._count()
        return size

    def readall(self):
        content = super().readall()
        self._count()
        return content


@cache
def others(name):
    """Return the contents of the other files that hold the same kind of image."""
    return [written(other) for other in FORMATS if other != name]


def case(random: np.random.Generator) -> str:
    """Read a file that changes meanwhile."""
    name = str(random.choice(list(FORMATS)))
    old = written(name)
    new = bytes(random.choice(others(name)))
    kind = random.integers(3)

    def change():
        if kind == 0:
            os.truncate(path, int(random.integers(len(old))))
        elif kind == 1:
            path.write_bytes(new)
        else:
            with path.open("r+b") as file:
                file.seek(int(random.integers(len(old))))
                file.write(random.bytes(int(random.integers(1, 200))))

    with tempfile.NamedTemporaryFile() as named:
        path = Path(named.name)
        named.write(old)
        named.flush()
        with ChangingFile(path, int(random.integers(1, 20)), change) as file:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    image, _ = gp.read(file)
            except gp.ReadError:
                return "refused"
            if file.remaining > 0:
                return "unchanged"
    if np.array_equal(image, gp.read(old)[0]):
        return "old"
    if kind == 1 and np.array_equal(image, gp.read(new)[0]):
        return "new"
    assert name not in WITH_CHECKSUMS, f"{name}: read with other pixels"
    return "mixed"
