"""Band names: how they are written, and that they are distinct."""

from collections.abc import Iterable

from .errors import ChannelError
from .validation import is_sequence


def parse(bands: str | Iterable[str]) -> tuple[str, ...]:
    """Return the band names that ``bands`` stands for, as a tuple.

    A string of distinct capital letters is one band a letter (``"RGBY"``), ``"gray"`` is one band, anything else is a
    sequence of names (``("B02", "B03")``, ``("NIR",)``). Raises ChannelError for a string that is neither, and for
    names that are empty, repeated or not strings.
    """
    if isinstance(bands, str):
        return _parse_string(bands)
    if not is_sequence(bands):
        raise ChannelError(
            f"bands are a string such as 'RGB' or a sequence of names, in their order, got {bands!r}"
        )
    names = tuple(bands)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ChannelError(
            f"band names are non-empty strings, at least one of them, got {names!r}"
        )
    if len(set(names)) != len(names):
        raise ChannelError(
            f"band names are distinct, got {names!r}: give each band a name of its own"
        )
    return tuple(
        str.__str__(name) for name in names
    )  # members of an Enum of strings too


def _parse_string(bands: str) -> tuple[str, ...]:
    if bands == "gray":
        return ("gray",)
    letters = tuple(bands)
    if (
        letters
        and all("A" <= letter <= "Z" for letter in letters)
        and len(set(letters)) == len(letters)
    ):
        return letters
    raise ChannelError(
        f"as a string, bands are 'gray' or distinct capital letters, one a band ('RGB'), got {bands!r}: "
        f"write one band of that name as ({bands!r},), several as ('B02', 'B03')"
    )


def show(bands: tuple[str, ...]) -> str:
    """Return ``bands`` as a person would type them: ``'RGB'``, ``'gray'`` or the tuple."""
    joined = "".join(bands)
    short = bands == ("gray",) or all(
        len(band) == 1 and "A" <= band <= "Z" for band in bands
    )
    return repr(joined) if short else repr(bands)
