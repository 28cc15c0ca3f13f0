"""Extras: optional dependencies, imported where they are needed, and what to say where they are missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingExtraError


@contextmanager
def needs(extra: str, *modules: str) -> Iterator[None]:
    """Turn a missing one of ``modules`` into a MissingExtraError that names the extra which brings it.

    For the import statements inside. A dependency that is there and broken shows its own error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        raise MissingExtraError(
            f'{error.name} is not installed: pip install "graypipe[{extra}]" brings it'
        ) from None
