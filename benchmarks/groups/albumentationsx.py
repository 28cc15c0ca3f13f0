"""The cases of `albumentations` in an environment with AlbumentationsX (`--only albumentationsx`)."""

from collections.abc import Iterator

from ..case import Build
from ..scale import Scale
from .albumentations import under


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes and dtypes, under AlbumentationsX."""
    return under("albumentationsx", scale)
