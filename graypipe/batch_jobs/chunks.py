"""Split a list of files or outputs into chunks, the unit of work of one worker.

The chunks depend on the files only, not on the number of workers. Floating-point
statistics are accumulated per chunk, so rounding is the same for any number of workers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from .remote import AnyPath, ListedFile, RemotePath, locate

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
    sources : tuple of ListedFile
        The images, in order.
    """

    name: str
    sources: tuple[ListedFile, ...]


def split_into_chunks(
    files: Iterable[ListedFile], folder: str | AnyPath = ""
) -> Iterator[list[ListedFile]]:
    """Yield lists of consecutive files.

    Parameters
    ----------
    files : iterable of ListedFile
        The files; they keep their order.
    folder : str, Path or RemotePath, optional
        The folder that was listed.

    Yields
    ------
    list of ListedFile
        At most `MAX_FILES` files with at most `MAX_BYTES` in total. A larger file is a
        chunk of its own.
    """
    return _split(files, lambda file: (file,), folder)


def split_outputs(
    outputs: Iterable[Output], folder: str | AnyPath
) -> Iterator[list[Output]]:
    """Yield lists of consecutive outputs.

    Parameters
    ----------
    outputs : iterable of Output
        The outputs; they keep their order.
    folder : str, Path or RemotePath
        The folder of the images.

    Yields
    ------
    list of Output
        Outputs that are made of at most `MAX_FILES` files with at most `MAX_BYTES` in
        total. An output that is made of more is a chunk of its own.
    """
    return _split(outputs, lambda output: output.sources, folder)


def _split(
    items: Iterable[Item],
    files_of: Callable[[Item], Sequence[ListedFile]],
    folder: str | AnyPath,
) -> Iterator[list[Item]]:
    """Yield lists of consecutive items within the limits for their files."""
    chunk: list[Item] = []
    chunk_files = 0
    chunk_bytes = 0
    for item in items:
        files = files_of(item)
        item_bytes = sum(file_sizes(files, folder))
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


def file_sizes(
    files: Iterable[ListedFile], folder: str | AnyPath = ""
) -> Iterator[int]:
    """Yield the sizes of files in the list of a folder; 0 for inaccessible files."""
    return (_file_size(locate(file, folder)) for file in files)


def _file_size(path: AnyPath) -> int:
    """Return the size of the file in bytes, 0 if it cannot be accessed."""
    if isinstance(path, RemotePath):
        return path.size
    try:
        return path.stat().st_size
    except OSError:
        # The worker that reads the file reports the error.
        return 0
