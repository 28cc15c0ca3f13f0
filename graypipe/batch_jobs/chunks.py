"""Split a list of files into chunks, the unit of work of one worker.

The chunks depend on the files only, not on the number of workers. Floating-point
statistics are accumulated per chunk, so rounding is the same for any number of workers.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

# With several files per chunk, the cost of sending a chunk to a worker is negligible.
# More files would make the progress bar move in jumps.
MAX_FILES = 16

# Large files take long to process. Smaller chunks keep all workers busy to the end.
MAX_BYTES = 16 << 20


def split_into_chunks(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield lists of consecutive files.

    Parameters
    ----------
    paths : iterable of Path
        The files; they keep their order.

    Yields
    ------
    list of Path
        At most `MAX_FILES` files with at most `MAX_BYTES` in total. A larger file is a
        chunk of its own.
    """
    chunk: list[Path] = []
    chunk_bytes = 0
    for path in paths:
        file_bytes = file_size(path)
        is_full = len(chunk) == MAX_FILES or chunk_bytes + file_bytes > MAX_BYTES
        if chunk and is_full:
            yield chunk
            chunk = []
            chunk_bytes = 0
        chunk.append(path)
        chunk_bytes += file_bytes
    if chunk:
        yield chunk


def file_size(path: Path) -> int:
    """Return the size of the file in bytes, 0 if it cannot be accessed."""
    try:
        return path.stat().st_size
    except OSError:
        # The worker that reads the file reports the error.
        return 0
