"""Split a list of files or outputs into chunks, the unit of work of one worker.

The chunks depend on the files only, not on the number of workers. Floating-point
statistics are accumulated per chunk, so rounding is the same for any number of workers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from .remote import AnyPath, RemotePath

Item = TypeVar("Item")

# With several files per chunk, the cost of sending a chunk to a worker is negligible.
# More files would make the progress bar move in jumps.
MAX_FILES = 16

# Large files take long to process. Smaller chunks keep all workers busy to the end.
MAX_BYTES = 16 << 20


class Output(NamedTuple):
    """A file to write, and the images that it is made of.

    Parameters
    ----------
    name : str
        The file, relative to the output folder.
    sources : tuple of AnyPath
        The images, in order.
    """

    name: str
    sources: tuple[AnyPath, ...]


def split_into_chunks(paths: Iterable[AnyPath]) -> Iterator[list[AnyPath]]:
    """Yield lists of consecutive files.

    Parameters
    ----------
    paths : iterable of Path or RemotePath
        The files; they keep their order.

    Yields
    ------
    list of Path or RemotePath
        At most `MAX_FILES` files with at most `MAX_BYTES` in total. A larger file is a
        chunk of its own.
    """
    return _split(paths, lambda path: (path,))


def split_outputs(outputs: Iterable[Output]) -> Iterator[list[Output]]:
    """Yield lists of consecutive outputs.

    Parameters
    ----------
    outputs : iterable of Output
        The outputs; they keep their order.

    Yields
    ------
    list of Output
        Outputs that are made of at most `MAX_FILES` files with at most `MAX_BYTES` in
        total. An output that is made of more is a chunk of its own.
    """
    return _split(outputs, lambda output: output.sources)


def _split(
    items: Iterable[Item], files_of: Callable[[Item], Sequence[AnyPath]]
) -> Iterator[list[Item]]:
    """Yield lists of consecutive items within the limits for their files."""
    chunk: list[Item] = []
    chunk_files = 0
    chunk_bytes = 0
    for item in items:
        files = files_of(item)
        item_bytes = sum(map(file_size, files))
        is_full = (
            chunk_files + len(files) > MAX_FILES or chunk_bytes + item_bytes > MAX_BYTES
        )
        if chunk and is_full:
            yield chunk
            chunk = []
            chunk_files = 0
            chunk_bytes = 0
        chunk.append(item)
        chunk_files += len(files)
        chunk_bytes += item_bytes
    if chunk:
        yield chunk


def file_size(path: AnyPath) -> int:
    """Return the size of the file in bytes, 0 if it cannot be accessed."""
    if isinstance(path, RemotePath):
        return path.size
    try:
        return path.stat().st_size
    except OSError:
        # The worker that reads the file reports the error.
        return 0
