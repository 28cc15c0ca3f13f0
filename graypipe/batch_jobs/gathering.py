"""Files into statistics: what a worker does with a chunk of them, and how chunks add up in the order of the files."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .. import layouts
from ..errors import GraypipeError
from ..source import Source
from ..stats import BandStats
from .loading import Failed, Loading, failed, load


class Part(NamedTuple):
    """The statistics of ``paths``, which have one dtype and one source."""

    stats: BandStats
    paths: list[Path]


def gather(how: Loading, stops: bool, paths: Sequence[Path]) -> list[Part | Failed]:
    """Return the statistics of ``paths``, a part for each dtype and source among them, and what cannot be taken."""
    parts: dict[tuple[str, Source], Part] = {}
    failures = []
    for path in paths:
        try:
            image, source = _as_declared(*load(how, path), how.source)
            part = parts.setdefault(
                (image.dtype.name, source), Part(BandStats(source), [])
            )
            part.stats.update(image)
            part.paths.append(path)
        except GraypipeError as error:
            failures.append(failed(path, error))
            if stops:
                break
    return [*(part for part in parts.values() if part.paths), *failures]


def _as_declared(
    image: NDArray[Any], found: Source, declared: Source
) -> tuple[NDArray[Any], Source]:
    """View ``image`` in the declared layout; return with it what was declared and what the file states beyond it."""
    conversion = layouts.conversion(found.layout, declared.layout)
    return conversion.from_planes(conversion.source_planes(image)), replace(
        found, layout=conversion.target, dtype=declared.dtype
    )


def add(
    total: BandStats | None, chunk: Iterable[Part | Failed]
) -> tuple[BandStats | None, list[Failed]]:
    """Return ``total`` with the parts of ``chunk`` in it, and what cannot be taken, parts unlike the others included.

    The first part decides which dtype and source that is.
    """
    failures = []
    for part in chunk:
        if isinstance(part, Failed):
            failures.append(part)
        elif total is None:
            total = part.stats
        else:
            try:
                total.merge(part.stats)
            except GraypipeError as error:
                failures += [failed(path, error) for path in part.paths]
    return total, failures
