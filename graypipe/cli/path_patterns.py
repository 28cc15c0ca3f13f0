"""The options ``--include`` and ``--exclude``: which files of a folder are used.

A pattern is compared with the path of a file relative to the folder, with forward
slashes and case-sensitively. The rules are those of `fnmatch`, whose ``*`` also matches
slashes, so that ``*.dcm`` names files in all subfolders.
"""

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from fnmatch import translate
from pathlib import PurePath, PurePosixPath
from typing import NamedTuple, TypeVar

from ..batch_jobs.remote import AnyPath, ListedFile, relative_name

File = TypeVar("File", bound=ListedFile)

# Stands for "**/" in a pattern; no path contains it.
ANY_FOLDERS = "\0"


class PathPattern(NamedTuple):
    """A pattern as it was given, and the regular expression that it means."""

    text: str
    expression: re.Pattern[str]

    def matches(self, path: str) -> bool:
        """Return whether the pattern matches a relative path."""
        return self.expression.fullmatch(path) is not None

    def names(self, path: str) -> bool:
        """Return whether the pattern also selects files of unknown suffixes.

        "*.dat" and "IM*" name files like ``path``, but "train/*" only their folder.
        """
        last = self.text.rpartition("/")[2]
        suffix = PurePosixPath(path).suffix
        is_named = last.endswith(suffix) if suffix else last.strip("*?") != ""
        return is_named and self.matches(path)


class Selection(NamedTuple):
    """The files that the values of ``--include`` and ``--exclude`` select."""

    include: tuple[PathPattern, ...] = ()
    exclude: tuple[PathPattern, ...] = ()

    def select(self, files: list[File], folder: AnyPath) -> list[File]:
        """Return the selected files; report the patterns that match none on stderr.

        Parameters
        ----------
        files : list of ListedFile
            Files below ``folder``.
        folder : Path
            The folder that patterns refer to.

        Returns
        -------
        list of ListedFile
            Without patterns, all files. Otherwise the files that match a pattern of
            ``include``, if there is one, and no pattern of ``exclude``.
        """
        if not self.include and not self.exclude:
            return files
        paths = {file: _relative_path(file, folder) for file in files}
        included = set(files)
        if self.include:
            included = _matching(paths, "--include", self.include)
        excluded = _matching(paths, "--exclude", self.exclude)
        selected = included - excluded
        return [file for file in files if file in selected]

    def names(self, file: ListedFile, folder: AnyPath) -> bool:
        """Return whether a file is selected whatever its suffix is."""
        path = _relative_path(file, folder)
        return any(pattern.names(path) for pattern in self.include)


# What is selected without patterns
EVERYTHING = Selection()


def _relative_path(file: ListedFile, folder: AnyPath) -> str:
    """Return the path of a file in a folder, with forward slashes."""
    return PurePath(relative_name(file, folder)).as_posix()


def _matching(
    paths: Mapping[File, str], option: str, patterns: Sequence[PathPattern]
) -> set[File]:
    """Return the keys of ``paths`` that match a pattern; report unused patterns."""
    matching = set()
    for pattern in patterns:
        found = {file for file, path in paths.items() if pattern.matches(path)}
        matching |= found
        if not found:
            note = f"graypipe: {option} {pattern.text!r} matches no file"
            print(note, file=sys.stderr)
    return matching


def add_options(parser: ArgumentParser) -> None:
    """Declare ``--include`` and ``--exclude``."""
    group = parser.add_argument_group("which files are used")
    group.add_argument(
        "--include",
        type=parse_pattern,
        action="append",
        default=[],
        metavar="PATTERN",
        help="use only files whose path in the folder matches; * and ** also match "
        "slashes, and a pattern that ends in a suffix also takes files that are not "
        "known as images; may be repeated, for example 'train/*' or '*.dat'",
    )
    group.add_argument(
        "--exclude",
        type=parse_pattern,
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files whose path in the folder matches; may be repeated, for "
        "example '*_mask.png' or '**/masks/*'",
    )


def parse_pattern(text: str) -> PathPattern:
    """Return the pattern that ``text`` means."""
    # "**/" stands for any number of folders, also for none.
    marked = re.sub(r"(?<![^/])\*\*/", ANY_FOLDERS, text)
    expression = translate(marked).replace(ANY_FOLDERS, "(?:.*/)?")
    return PathPattern(text, re.compile(expression))


def selection(options: Namespace) -> Selection:
    """Return the files that the options select."""
    return Selection(tuple(options.include), tuple(options.exclude))
