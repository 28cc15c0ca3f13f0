"""The cases of `albumentations` under AlbumentationsX: run where that is installed in its place (`--only`)."""

from collections.abc import Iterator

from ..case import Build
from ..scale import Scale
from .albumentations import under


def cases(scale: Scale) -> Iterator[Build]:
    """Yield sizes and dtypes, under AlbumentationsX."""
    return under("albumentationsx", scale)
