"""Import optional dependencies, or say which extra installs them."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingExtraError


@contextmanager
def require_extra(extra: str, *modules: str) -> Iterator[None]:
    """Raise `MissingExtraError` if an import in the block fails for a missing package.

    The error of a package that is installed but fails to import is not changed.

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
