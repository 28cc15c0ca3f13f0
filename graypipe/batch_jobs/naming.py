"""Names of outputs: where each file goes, decided and checked for all of them before anything is written."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import GraypipeError
from .encode import SUFFIXES


def output(path: str, to: str) -> str:
    """Return the name of what becomes of ``path``: the same with the ending of ``to``."""
    return str(Path(path).with_suffix(SUFFIXES[to]))


def check_distinct(paths: Iterable[str], to: str) -> None:
    """Raise GraypipeError where two of ``paths`` would become one file, or one of them the folder of another."""
    taken: dict[str, str] = {}
    for path in paths:
        other = taken.setdefault(output(path, to), path)
        if other != path:
            raise GraypipeError(
                f"{other} and {path} would both become {output(path, to)}: convert them from folders of their own"
            )
    for parent in {parent for path in paths for parent in Path(path).parents}:
        if str(parent) in taken:
            raise GraypipeError(
                f"{taken[str(parent)]} would become {parent}, a folder with images: rename one of them"
            )


def check_apart(folder: Path, out: Path, paths: Iterable[str]) -> None:
    """Raise GraypipeError unless ``out`` lies outside of ``folder``, and what is read outside of ``out``.

    Links in ``folder`` may lead anywhere, but not into ``out``.
    """
    made, read = place(out), place(folder)
    if made.is_relative_to(read):
        raise GraypipeError(
            f"{out} lies in {folder}, which is only read: choose a folder outside of it"
        )
    links = {folder / path for path in paths if (folder / path).is_symlink()}
    for source in {read, *((folder / path).parent for path in paths), *links}:
        if place(source).is_relative_to(made):
            raise GraypipeError(
                f"{source} lies in {out}, where results would be written: choose another folder"
            )


def check_inside(out: Path, paths: Iterable[str]) -> None:
    """Raise GraypipeError where a link in ``out`` would lead an output out of it."""
    top = place(out)
    for below in {Path(path).parent for path in paths}:
        found = place(top / below)
        if found != top / below:
            raise GraypipeError(
                f"{out / below} leads to {found}, out of {out}: remove that link"
            )


def place(path: Path) -> Path:
    """Return where ``path`` really leads, through links and ``..``."""
    return Path(
        os.path.realpath(path)
    )  # Path.resolve raises an error over links that lead in a circle
