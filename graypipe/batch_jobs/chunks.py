"""Chunks: the files that a worker takes at once, cut by number and size, whoever works."""

from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_FILES = 16
MOST_BYTES = 16 << 20


def chunks(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield ``paths`` in their order, up to `MOST_FILES` at once, fewer where they are large."""
    chunk: list[Path] = []
    held = 0
    for path in paths:
        size = _size(path)
        if chunk and (len(chunk) == MOST_FILES or held + size > MOST_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(path)
        held += size
    if chunk:
        yield chunk


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever reads it says what is wrong
        return 0
