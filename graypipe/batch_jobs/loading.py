"""One file of a data set: read as it was declared, with whatever else the file itself states."""

from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..errors import MissingExtraError, ReadError
from ..io import facts, read
from ..source import Source

ARRAYS = ("NPY", "NPZ")
"""Formats that do not say which axis is what: there the layout of the source counts, elsewhere that of the file."""


class Loading(NamedTuple):
    """How every file is read: the declared source, and the policies of `gp.read`."""

    source: Source
    alpha: str = "error"
    orientation: str = "error"
    frame: int | str | None = None


class Failed(NamedTuple):
    """A file that cannot be taken, and why, in one line that names it."""

    path: Path
    reason: str


def load(how: Loading, path: Path) -> tuple[NDArray[Any], Source]:
    """Return (image, source) of the file; GraypipeError where it is not what was declared."""
    if (
        path.exists() and not path.is_file()
    ):  # opening a pipe would wait for whoever writes into it
        raise ReadError(
            f"{path}: expected an image file, got a pipe, a device or a folder that cannot be listed"
        )
    source = how.source
    declared = {
        part.name: getattr(source, part.name)
        for part in fields(source)
        if part.name != "layout"
    }
    if source.layout != Source(source.bands).layout and facts(path)["format"] in ARRAYS:
        declared["layout"] = source.layout
    stated = {name: held for name, held in declared.items() if held is not None}
    return read(
        path, alpha=how.alpha, orientation=how.orientation, frame=how.frame, **stated
    )


def failed(path: Path, error: Exception) -> Failed:
    """Return why the file cannot be taken; a missing extra is raised again, since it is no fault of the file."""
    if isinstance(error, MissingExtraError):
        raise error
    said = isinstance(error, OSError) and error.strerror
    reason = " ".join(str(said or error).split())
    return Failed(path, reason if str(path) in reason else f"{path}: {reason}")
