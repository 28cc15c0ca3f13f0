"""Open a path, a URL, bytes or a file object as a seekable binary file.

Decoders receive a file object at its start, whatever the caller of `read` passed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO, TypeAlias

from ..errors import MissingExtraError, ReadError
from ..extras import require_extra

File: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def is_file(value: object) -> bool:
    """Return whether `open_input` accepts ``value``."""
    if isinstance(value, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    return hasattr(value, "read")


def input_name(file: object) -> str:
    """Return the name of a file for messages: its path or URL, if it has one."""
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    if isinstance(file, bytes | bytearray | memoryview):
        return "<bytes>"
    name = getattr(file, "name", None)
    if isinstance(name, str | os.PathLike):  # a path if the file was opened by one
        return os.fspath(name)
    return f"<{type(file).__name__}>"


@contextmanager
def open_input(file: File) -> Iterator[BinaryIO]:
    """Open ``file`` at its start, and close what was opened here.

    Parameters
    ----------
    file : path, URL, bytes or binary file object
        A string with "://" is a URL, which fsspec opens. A file object is rewound, as
        `PIL.Image.open` does, and stays open; one that cannot seek is read to its end.

    Raises
    ------
    ReadError
        If ``file`` is something else, or a file object in text mode.
    MissingExtraError
        If ``file`` is a URL, and fsspec or its package for the protocol is missing.
    OSError
        If the file cannot be opened.
    """
    if isinstance(file, bytes | bytearray | memoryview):
        yield BytesIO(file)
    elif isinstance(file, str) and "://" in file:
        with require_extra("io", "fsspec"):
            import fsspec
        try:
            remote = fsspec.open(file, "rb")
        except ImportError as error:  # the package of the protocol, such as s3fs
            raise MissingExtraError(str(error)) from None
        with remote as opened:
            yield opened
    elif isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:  # noqa: PTH123  # a Path adds nothing
            yield opened
    elif hasattr(file, "read"):
        yield _seekable(file)
    else:
        raise ReadError(
            "expected a path, a URL, bytes or a binary file object, got "
            f"{type(file).__module__}.{type(file).__qualname__}: for an array, declare "
            "a gp.Source instead"
        )


def _seekable(file: BinaryIO) -> BinaryIO:
    """Return a binary file object at its start."""
    is_seekable = hasattr(file, "seekable") and file.seekable()
    if is_seekable:
        file.seek(0)
        content = file.read(0)
    else:
        content = file.read()
    if not isinstance(content, bytes):
        raise ReadError(
            "expected a binary file object, got a text file: open it with mode 'rb'"
        )
    if is_seekable:
        return file
    return BytesIO(content)
