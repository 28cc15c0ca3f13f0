"""Output folders: what a job needs of the place where its outputs are stored.

Names are relative to the folder, with "/" between its subfolders. A file appears under
its name when it is complete.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import GraypipeError
from .files import (
    UNFINISHED_SUFFIX,
    create_file,
    remove_unfinished,
    write_error,
    write_file,
)
from .lock import LOCK_NAME, locked
from .remote import AnyPath, RemoteFolder


class OutputFolder(Protocol):
    """The folder in which a job stores its outputs.

    ``str(folder)`` is its path, for messages. All methods raise GraypipeError if the
    folder cannot be used.
    """

    def locked(self) -> AbstractContextManager[None]:
        """Create the folder if it does not exist, and keep other jobs from using it."""

    def names(self) -> Iterator[str]:
        """Yield the names of its files and subfolders, without those of subfolders.

        The files of a job that is running or was killed are left out.
        """

    def remove_unfinished(self) -> None:
        """Remove the incomplete files of a job that was killed."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing, in a ``with`` statement.

        It appears under its name, or replaces the file of that name, if the block
        succeeds; after an error, everything is as before. Missing subfolders are
        created.
        """

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> int:
        """Write a file from consecutive parts, as `create` does; return its size."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise FileNotFoundError if there is none."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist."""

    def read_lines(self, name: str) -> list[bytes] | None:
        """Return the lines of a file without their ends, or None if there is no file.

        An unterminated last line is incomplete: it is removed from the file.
        """

    def write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """Write a file of terminated lines, to which `append` can add others."""

    def append(self, name: str, lines: Iterable[bytes]) -> None:
        """Add terminated lines to a file that `write_lines` has written."""

    def finish(self, name: str) -> None:
        """Store the lines that `append` has added in the file itself."""


class LocalFolder:
    """A folder of the file system.

    Parameters
    ----------
    path : Path
        The absolute path of the folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def locked(self) -> AbstractContextManager[None]:
        """Create the folder if it does not exist, and hold its lock."""
        return locked(self.path)

    def names(self) -> Iterator[str]:
        """Yield the names of its entries, except the lock and temporary files."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise GraypipeError(f"{self} is not a folder: choose a new or empty folder")
        for entry in self.path.iterdir():
            if entry.name != LOCK_NAME and not entry.name.endswith(UNFINISHED_SUFFIX):
                yield entry.name

    def remove_unfinished(self) -> None:
        """Remove the temporary files of a job that was killed."""
        remove_unfinished(self.path)

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a temporary file, which is renamed when the block succeeds."""
        return create_file(self.path / name)

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> int:
        """Write a file atomically and return its size."""
        return write_file(self.path / name, parts)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.path / name).read_bytes()

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.path / name, error) from None

    def size(self, name: str) -> int | None:
        """Return the size of a file; a link is not followed."""
        try:
            return os.lstat(self.path / name).st_size
        except OSError:
            return None

    def read_lines(self, name: str) -> list[bytes] | None:
        """Return the lines of a file, and remove an incomplete last line."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            *lines, incomplete_line = path.read_bytes().split(b"\n")
            if incomplete_line:
                os.truncate(path, path.stat().st_size - len(incomplete_line))
        except OSError as error:
            raise GraypipeError(
                f"{path} cannot be read or repaired: {error.strerror or error}; check "
                "its permissions, or choose another folder"
            ) from None
        return lines

    def write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """Write a file of terminated lines."""
        self.write(name, lines)

    def append(self, name: str, lines: Iterable[bytes]) -> None:
        """Add terminated lines to a file."""
        path = self.path / name
        try:
            with path.open("ab") as file:
                file.writelines(lines)
        except OSError as error:
            raise write_error(path, error) from None

    def finish(self, name: str) -> None:
        """Do nothing: `append` adds the lines to the file itself."""


def open_folder(path: str | AnyPath) -> OutputFolder:
    """Return the output folder at an absolute path or a URL."""
    if "://" in str(path):
        return RemoteFolder(str(path))
    return LocalFolder(Path(str(path)))
