"""Parse and format band names."""

from collections.abc import Iterable
from functools import lru_cache

from .errors import ChannelError
from .validation import is_ordered_iterable


def parse_bands(bands: str | Iterable[str]) -> tuple[str, ...]:
    """Return ``bands`` as a tuple of names.

    Parameters
    ----------
    bands : str or iterable of str
        ``"gray"`` is one band. Any other string must consist of distinct capital
        letters, one band per letter (``"RGBY"``). An iterable contains one name per
        band (``("B02", "B03")``, ``("NIR",)``).

    Returns
    -------
    tuple of str

    Raises
    ------
    ChannelError
        If ``bands`` does not have one of these forms, or if a name is empty, repeated
        or not a string.
    """
    if isinstance(bands, str):
        return _parse_string(bands)
    if not is_ordered_iterable(bands):
        raise ChannelError(
            "expected bands to be a string such as 'RGB' or a sequence of names, "
            f"got {bands!r}"
        )
    names = tuple(bands)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ChannelError(f"expected one or more non-empty band names, got {names!r}")
    if len(set(names)) != len(names):
        raise ChannelError(
            f"expected distinct band names, got {names!r}: rename the repeated ones"
        )
    # Convert members of a string Enum to plain strings, as JSON and pickle require.
    return tuple(str.__str__(name) for name in names)


@lru_cache(maxsize=256)
def _parse_string(bands: str) -> tuple[str, ...]:
    """Return the bands of a string: "gray", or one per distinct capital letter."""
    if bands == "gray":
        return ("gray",)
    letters = tuple(bands)
    if letters and all(map(_is_letter, letters)) and len(set(letters)) == len(letters):
        return letters
    raise ChannelError(
        "a string of bands must be 'gray' or distinct capital letters such as 'RGB', "
        f"got {bands!r}: write ({bands!r},) for one band of that name, or "
        "('B02', 'B03') for several names"
    )


def _is_letter(name: str) -> bool:
    """Return whether ``name`` is a single capital letter."""
    return len(name) == 1 and "A" <= name <= "Z"


def number_bands(numbers: Iterable[int]) -> tuple[str, ...]:
    """Return the names of bands that have none: band1, band2 and so on.

    GDAL counts bands from 1 as well.
    """
    return tuple(f"band{number}" for number in numbers)


def format_bands(bands: tuple[str, ...]) -> str:
    """Return ``bands`` in the shortest form that `parse_bands` accepts.

    Examples
    --------
    >>> format_bands(("R", "G", "B")), format_bands(("B02", "B03"))
    ("'RGB'", "('B02', 'B03')")
    """
    if bands == ("gray",) or all(map(_is_letter, bands)):
        return repr("".join(bands))
    return repr(bands)
