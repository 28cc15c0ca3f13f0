"""Small images: what a call costs before the first pixel."""

from collections.abc import Iterator

from ..case import Build
from ..scale import Scale
from . import expand, normalise


def cases(scale: Scale) -> Iterator[Build]:
    """Yield expansion and normalisation at about 1,000 pixels."""
    yield from expand.at_size("32", scale)
    yield from normalise.at_size("32", scale)
