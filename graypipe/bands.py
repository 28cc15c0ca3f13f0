"""Parse and format band names."""

import re
from collections.abc import Iterable
from functools import lru_cache

from .errors import ChannelError
from .messages import describe_value, looks_like_path
from .validation import is_ordered_iterable

# Common bands in any spelling, with or without a bit depth: "grey", "rgb", "gray_12"
COMMON_BANDS = re.compile(
    r"(?P<bands>(?P<gray>gr[ae]y(?:scale)?)|rgba?|bgr)"
    r"(?:[-_. ]?(?P<bits>[1-9]\d?)(?:[-_ ]?bits?)?)?",
    re.IGNORECASE,
)

# Longest text of `format_bands` before it abbreviates; 13 bands of Sentinel-2 fit.
LONGEST_TEXT = 200


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
            f"got {describe_value(bands)}"
        )
    names = tuple(bands)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ChannelError(
            "expected one or more non-empty band names, got "
            f"{describe_value(bands if hasattr(bands, 'shape') else names)}"
        )
    if len(set(names)) != len(names):
        raise ChannelError(
            f"expected distinct band names, got {describe_value(names)}: "
            "rename the repeated ones"
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
    text = describe_value(bands)
    if looks_like_path(bands):
        raise ChannelError(
            f"expected bands such as 'gray' or 'RGB', got the path {text}: image, "
            "source = gp.read(path) reads the file and says which bands it has"
        )
    raise ChannelError(
        "a string of bands must be 'gray' or distinct capital letters such as 'RGB', "
        f"got {text}{_intended_bands(bands)}: write ({text},) for one band of that "
        "name, or ('B02', 'B03') for several names"
    )


def _intended_bands(text: str) -> str:
    """Return " (did you mean ...?)" for a misspelling of common bands, else ""."""
    common = parse_bands_and_bits(text)
    if common is None:
        return ""
    bands, bits = common
    if bits:
        return f" (did you mean gp.Source({bands!r}, bits={bits})?)"
    return f" (did you mean {bands!r}?)"


def parse_bands_and_bits(text: str) -> tuple[str, str] | None:
    """Return the bands and bits that a misspelling such as "gray12" or "rgb" means.

    Returns
    -------
    tuple of str or None
        The bands and the digits of the bit depth, which may be empty; None if the text
        is not a misspelling of common bands.
    """
    match = COMMON_BANDS.fullmatch(text)
    if match is None:
        return None
    bands = match["bands"].upper()
    if match["gray"]:
        bands = "gray"
    return bands, match["bits"] or ""


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

    Long tuples are abbreviated.

    Examples
    --------
    >>> format_bands(("R", "G", "B")), format_bands(("B02", "B03"))
    ("'RGB'", "('B02', 'B03')")
    """
    if bands == ("gray",) or all(map(_is_letter, bands)):
        return repr("".join(bands))
    text = repr(bands)
    if len(text) > LONGEST_TEXT and len(bands) > 4:
        return f"({', '.join(map(repr, bands[:3]))}, ..., {bands[-1]!r})"
    return text


def format_band_count(count: int) -> str:
    """Return ``count`` with its noun: "1 band" or "3 bands"."""
    if count == 1:
        return "1 band"
    return f"{count} bands"
