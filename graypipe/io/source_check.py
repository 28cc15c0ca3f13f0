"""Build the `Source` of an image from its file and the keywords of the caller."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layouts
from ..bands import format_band_count, format_bands, number_bands, parse_bands
from ..errors import ChannelError, RangeError, ReadError
from ..sensor import (
    Sensor,
    bands_from_descriptions,
    describe_bands,
    sensor,
    source_keywords,
)
from ..source import Source
from ..validation import (
    check_nodata_count,
    is_ordered_iterable,
    is_sequence_of_pairs,
)
from .decoded import DecodedImage


def build_source(
    decoded: DecodedImage,
    image: NDArray[Any],
    keywords: Mapping[str, Any],
    range_required: bool = True,
) -> Source:
    """Return the `Source` of an image that was read.

    Parameters
    ----------
    decoded : DecodedImage
        The decoded file.
    image : ndarray
        The image that `graypipe.read` returns, with the alpha and orientation policies
        applied.
    keywords : mapping
        Keywords of `Source` that were passed to `graypipe.read`.
    range_required : bool, default True
        Whether file, keywords or dtype must determine black and white.

    Raises
    ------
    ReadError
        If the keywords contradict the file, or if required information is in neither
        the file nor the keywords.
    ChannelError, DTypeError, LayoutError, RangeError
        If the keywords contradict each other or the image.
    """
    recorded: dict[str, Any] = {"dtype": image.dtype, **decoded.source_keywords}
    if "bits" in keywords or "range" in keywords:
        # `Source` accepts only one of bits and range, so the declared one replaces what
        # the file records.
        recorded.pop("bits", None)
        recorded.pop("range", None)
    if decoded.layout is not None:
        recorded["layout"] = decoded.layout
        recorded["bands"] = _check_bands(decoded, decoded.layout, image.shape, keywords)
    elif "layout" in keywords:
        # The bands of an array have no names, so they are numbered.
        recorded["bands"] = _positional_bands(keywords["layout"], image.shape)
    if keywords:
        source = Source(**{**recorded, **keywords})
        _check_range(decoded.source_keywords, source)
        if range_required:
            _check_range_is_known(source, image.dtype)
    else:
        source = _recorded_source(recorded)
    layouts.check_shape(image.shape, source.layout, len(source.bands))
    return source


def check_not_divided(
    image: NDArray[Any], source: Source, keywords: Mapping[str, Any]
) -> None:
    """Raise RangeError if the values contradict the range in the keywords of `read`.

    A plan trusts floats whose dtype is declared beside the range. The dtype that the
    file records is no such declaration, but part of ``source``, so the plan that takes
    this source does not test them.
    """
    declares_range = "bits" in keywords or "range" in keywords
    if image.dtype.kind == "f" and declares_range and "dtype" not in keywords:
        replace(source, dtype=None)._check_not_divided(image)


def _recorded_source(recorded: dict[str, Any]) -> Source:
    """Return the source of a file that is read without keywords of `Source`."""
    items = tuple(recorded.items())
    try:
        return _remembered_source(items)
    except TypeError:  # a value that is not hashable, such as a list of ranges
        return _new_source(items)


def _new_source(items: tuple[tuple[str, Any], ...]) -> Source:
    """Return the source with these keywords, whose range is known."""
    source = Source(**dict(items))
    _check_range_is_known(source, np.dtype(source.dtype))
    return source


# Building a Source takes as long as decoding a small JPEG file, and all files of a
# folder often have the same one.
_remembered_source = lru_cache(maxsize=256)(_new_source)


def _check_bands(
    decoded: DecodedImage,
    layout: str,
    shape: tuple[int, ...],
    keywords: Mapping[str, Any],
) -> tuple[str, ...]:
    """Return the bands of the file. Raise ReadError if the keywords contradict them."""
    count = 1
    if "C" in layout:
        count = shape[layout.index("C")]
    if decoded.bands is not None:
        stored = parse_bands(decoded.bands)
    elif "bands" in keywords:
        stored = parse_bands(keywords["bands"])
    else:
        stored = number_bands(range(1, count + 1))
    declared = parse_bands(keywords.get("bands", stored))
    declared_layout = keywords.get("layout", layout)
    if len(declared) != count or layouts.parse(declared_layout) != layout:
        count_text = "1 band" if count == 1 else f"{count} bands"
        advice = ""
        if count == 1 and len(declared) > 1:
            advice = ": declare one band, such as 'gray', which a plan repeats"
        if len(declared) < count:
            advice = (
                f": declare all {count} in the order of the file, and choose among "
                "them with via= of the plan or select= of gp.read"
            )
        raise ReadError(
            f"the file has {count_text} in layout {layout}, but the keywords declare "
            f"{format_bands(declared)} in layout {declared_layout}{advice}"
        )
    # Renaming bands is allowed. Using the name of one band of the file for another one
    # is not: it would silently swap bands.
    for declared_name, stored_name in zip(declared, stored, strict=True):
        if declared_name != stored_name and declared_name in stored:
            raise ReadError(
                f"the file has the bands {format_bands(stored)} in this order, but "
                f"the keywords declare {format_bands(declared)}: declare the bands "
                "in stored order, and let a plan reorder them"
            )
    return stored


def _positional_bands(layout: Any, shape: tuple[int, ...]) -> str | tuple[str, ...]:
    """Return the bands of an array whose axes the caller declares."""
    axes = layouts.parse(layout)
    # If the layout does not fit the shape, `build_source` raises later.
    if "C" not in axes or len(axes) != len(shape):
        return "gray"
    count = shape[axes.index("C")]
    return number_bands(range(1, count + 1))


def apply_sensor(
    decoded: DecodedImage, keywords: Mapping[str, Any]
) -> tuple[DecodedImage, dict[str, Any]]:
    """Replace the keyword ``sensor`` by the keywords of its source.

    Parameters
    ----------
    decoded : DecodedImage
    keywords : mapping
        Keywords of `Source` that were passed to `graypipe.read`, with ``sensor``.

    Returns
    -------
    decoded : DecodedImage
        With official names for the bands that the file names, as from
        `with_official_names`.
    keywords : dict
        With the bands of the file if it names bands of the sensor, and otherwise those
        of the sensor. The nodata value of the file takes precedence.

    Raises
    ------
    ChannelError
        If the sensor or a declared band is unknown.
    ReadError
        If no bands are declared, and the file describes some as bands of the sensor,
        but not all, or two as the same, or if it describes none and has fewer bands
        than the sensor.
    """
    given = dict(keywords)
    facts = sensor(given.pop("sensor"))
    bands = given.pop("bands", None)
    if bands is None:
        try:
            bands = bands_from_descriptions(facts, _descriptions(decoded, facts))
        except ChannelError as error:
            raise ReadError(str(error)) from None
        if bands is None:
            _check_sensor_band_count(decoded, facts)
    decoded = with_official_names(decoded, facts)
    declared = source_keywords(facts.name, bands, given)
    if "nodata" in decoded.source_keywords and "nodata" not in given:
        declared.pop("nodata", None)
    return decoded, declared


def _check_sensor_band_count(decoded: DecodedImage, facts: Sensor) -> None:
    """Raise ReadError if a file without band names has fewer bands than a sensor."""
    if decoded.layout is None:
        return
    count = 1
    if "C" in decoded.layout:
        count = decoded.image.shape[decoded.layout.index("C")]
    if count < len(facts.bands):
        raise ReadError(
            f"the file has {format_band_count(count)} without names of the sensor "
            f"{facts.name!r}, which has {len(facts.bands)}: name those of the file in "
            f"stored order, such as sensor={facts.name!r}, bands={facts.bands[:count]}"
        )


def with_official_names(decoded: DecodedImage, facts: Sensor) -> DecodedImage:
    """Return an image whose bands have the official names of a sensor.

    So an order that differs from the declared one is noticed.

    Parameters
    ----------
    decoded : DecodedImage
    facts : Sensor

    Returns
    -------
    DecodedImage
        With the official names of the bands that the file describes as those of the
        sensor. Others keep their names, or are numbered if they have none.
    """
    official = describe_bands(facts, _descriptions(decoded, facts))
    if not any(official):
        return decoded
    names = number_bands(range(1, len(official) + 1))
    if decoded.bands is not None:
        names = parse_bands(decoded.bands)
    pairs = zip(official, names, strict=True)
    return replace(decoded, bands=tuple(known or name for known, name in pairs))


def _descriptions(decoded: DecodedImage, facts: Sensor) -> Sequence[str]:
    """Return the texts of a file that may mention the bands of a sensor."""
    names: Sequence[str] = ()
    if decoded.bands is not None:
        names = parse_bands(decoded.bands)
    texts = decoded.descriptions
    # The names may be the colours of an RGB image with empty descriptions.
    if texts is None or not any(map(facts._find_all, texts)):
        return names
    return texts


def select_bands(
    image: NDArray[Any], source: Source, names: tuple[str, ...]
) -> tuple[NDArray[Any], Source]:
    """Return the bands ``names`` of an image, in this order, with their source.

    Parameters
    ----------
    image : ndarray
        An image of ``source``.
    source : Source
    names : tuple of str

    Returns
    -------
    image : ndarray
        A contiguous copy, or ``image`` itself if it has these bands and no others.
    source : Source

    Raises
    ------
    ReadError
        If the image lacks one of the bands.
    """
    if names == source.bands:
        return image, source
    positions = find_bands(names, source.bands)
    if "C" in source.layout:
        image = np.ascontiguousarray(image.take(positions, source.layout.index("C")))
    pairs: Any = source.range
    if pairs is not None and isinstance(pairs[0], tuple):  # one pair per band
        pairs = [pairs[position] for position in positions]
    nodata = source.nodata
    if isinstance(nodata, tuple):
        nodata = tuple(nodata[position] for position in positions)
    return image, replace(source, bands=names, range=pairs, nodata=nodata)


def select_keywords(
    decoded: DecodedImage, keywords: Mapping[str, Any], names: Any
) -> tuple[DecodedImage, dict[str, Any]]:
    """Restrict the metadata of an image to the bands that were decoded.

    Parameters
    ----------
    decoded : DecodedImage
        Its image holds the bands ``names``; its ``bands`` are all those of the file.
    keywords : mapping
        Keywords of `Source` for all bands of the file.
    names : tuple of str
        The bands of the image.

    Returns
    -------
    decoded : DecodedImage
        With the bands ``names``.
    keywords : dict
        Keywords of `Source` for these bands.

    Raises
    ------
    ChannelError
        If the number of ranges is not the number of bands of the file.
    """
    bands = parse_bands(decoded.bands or names)
    selected = {**keywords, "bands": names}
    positions = find_bands(names, bands)
    if is_sequence_of_pairs(keywords.get("range")):
        pairs = list(keywords["range"])
        check_range_count(len(pairs), len(bands))
        selected["range"] = [pairs[position] for position in positions]
    if is_ordered_iterable(keywords.get("nodata")):
        values = list(keywords["nodata"])
        check_nodata_count(len(values), len(bands))
        selected["nodata"] = [values[position] for position in positions]
    return replace(decoded, bands=names), selected


def check_range_count(count: int, band_count: int) -> None:
    """Raise ChannelError unless ``range=`` has one pair for each band."""
    if count != band_count:
        raise ChannelError(
            "range= must be one (black, white), or one per band: expected "
            f"{band_count} pairs, got {count}"
        )


def find_bands(names: tuple[str, ...], bands: tuple[str, ...]) -> list[int]:
    """Return the positions of ``names`` in ``bands``.

    Raises
    ------
    ReadError
        If a name is not in ``bands``.
    """
    missing = [name for name in names if name not in bands]
    if missing:
        raise ReadError(
            f"select= names {format_bands(tuple(missing))}, but the file has the bands "
            f"{format_bands(bands)}: name some of these, or declare bands="
        )
    return [bands.index(name) for name in names]


def _check_range(recorded: Mapping[str, Any], source: Source) -> None:
    """Raise ReadError if the bits or direction of the range contradict the file."""
    if "bits" in recorded and source.bits not in (None, recorded["bits"]):
        raise ReadError(
            f"the file has {recorded['bits']} bits, but the keywords declare "
            f"{source.bits}: omit bits="
        )
    if "range" not in recorded:
        return
    black, white = recorded["range"]
    if black < white:
        return
    # TIFF can store 0 as white. An ascending range would then invert the image.
    for declared_black, declared_white in source._pairs(None):
        if declared_black < declared_white:
            raise ReadError(
                "this file stores white as the lowest value: omit bits= and range= to "
                f"get range=({black:.0f}, {white:.0f}), or declare a descending range, "
                "such as range=(4095, 0)"
            )


def _check_range_is_known(source: Source, dtype: np.dtype[Any]) -> None:
    """Raise ReadError if neither file nor keywords nor dtype determine a range."""
    try:
        source._pairs(dtype)
    except RangeError:
        if source._declares_range:
            raise
        raise ReadError(
            f"the file holds {dtype}, which does not imply black and white: declare "
            "range=(black, white), such as range=(0, 4095), or bits="
        ) from None
