"""Optional dependencies: imported where they are needed, with a helpful error."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingExtraError


@contextmanager
def require_extra(extra: str, *modules: str) -> Iterator[None]:
    """Turn the failed import of a missing package into a `MissingExtraError`.

    A package that is installed but fails to import raises its own error.

    Parameters
    ----------
    extra : str
        The extra of graypipe that installs the package.
    *modules : str
        Top-level modules that the block imports.

    Raises
    ------
    MissingExtraError
        If one of ``modules`` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        raise MissingExtraError(
            f'{error.name} is not installed: pip install "graypipe[{extra}]"'
        ) from None
