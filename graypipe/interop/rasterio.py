"""Derive the keywords of a `Source` from a raster opened by rasterio.

rasterio exposes the GDAL data model: each band has a description, a data type, an
optional nodata value, a colour interpretation, and a scale and an offset that convert
stored values to physical ones.
"""

from collections.abc import Sequence
from operator import index
from typing import Any

from ..bands import number_bands, parse_bands
from ..engine import limits, supported_dtype
from ..errors import ChannelError, RangeError
from ..sensor import bands_from_descriptions, describe_bands, sensor
from ..sensor import source_keywords as sensor_keywords
from ..validation import (
    as_pair,
    is_ordered_iterable,
    is_sequence_of_pairs,
    merge_nodata,
)
from .rescale import (
    IDENTITY,
    Rescaling,
    parse_decimal,
    parse_rescaling,
    to_stored,
    widen_dtype,
)


def source_keywords(
    dataset: Any, physical: Any, indexes: Any, declared: dict[str, Any]
) -> dict[str, Any]:
    """Return the keywords of the source that describes ``dataset.read(indexes)``.

    Parameters
    ----------
    dataset : rasterio.io.DatasetReader
        An open raster, or any object with its attributes.
    physical : sequence or None
        Black and white in physical values: one pair, or one pair per band.
    indexes : int, sequence of int or None
        Numbers of the bands that are read, counted from 1; all bands if None.
    declared : dict
        Keywords that the caller declares. They override the metadata of the raster.

    Returns
    -------
    dict
        Keyword arguments for `Source`.

    Raises
    ------
    ChannelError
        If ``dataset`` is not a raster, has a palette, lacks a band of ``indexes``, or
        its bands lack usable names.
    RangeError
        If the bands differ in dtype, or if black and white are ambiguous.

    See Also
    --------
    graypipe.Source.from_rasterio : The public interface, with the rules in detail.
    """
    if not hasattr(dataset, "descriptions"):
        raise ChannelError(
            f"expected a raster opened by rasterio.open, got a {type(dataset).__name__}"
        )
    numbers = _band_numbers(indexes, len(dataset.descriptions))
    if declared.get("sensor") is not None:
        declared = _with_sensor(dataset, numbers, physical, declared)
    # DatasetReader.read() returns (bands, rows, columns), and (rows, columns) if it is
    # given one number.
    reads_one_number = indexes is not None and not is_ordered_iterable(indexes)
    source: dict[str, Any] = {
        "layout": "HW" if reads_one_number else "CHW",
        **declared,
        "bands": _source_bands(dataset, numbers, declared.get("bands")),
    }
    # GDAL stores a dtype per band, but a Source has one.
    if "dtype" not in declared:
        source["dtype"] = _common_value(_pick(dataset.dtypes, numbers), "dtype")
    if "nodata" not in declared:
        source["nodata"] = merge_nodata(_pick(dataset.nodatavals, numbers))
    range_declared = (
        declared.get("range") is not None or declared.get("bits") is not None
    )
    rescalings = _rescalings(dataset, numbers)
    if physical is not None:
        if range_declared:
            raise RangeError(
                "physical= and range= or bits= both declare black and white: declare "
                "only one of them"
            )
        source["range"] = _stored_range(physical, rescalings)
        if "dtype" not in declared:
            source["dtype"] = _widen(source["dtype"], source["range"])
    elif range_declared:
        if "dtype" not in declared and source["dtype"].startswith("float"):
            # A plan trusts floats whose dtype is declared beside the range. The dtype
            # of the raster does not show that nobody has divided the values.
            del source["dtype"]
    else:
        _check_unscaled(rescalings)
        source.update(_stored_bits(dataset, numbers))
    return source


def _band_numbers(indexes: Any, count: int) -> tuple[int, ...]:
    """Return the numbers of the bands that are read, counted from 1."""
    if indexes is None:
        return tuple(range(1, count + 1))
    parts = indexes if is_ordered_iterable(indexes) else (indexes,)
    try:
        numbers = tuple(index(part) for part in parts)
    except TypeError:
        numbers = ()
    if not numbers or not all(1 <= number <= count for number in numbers):
        raise ChannelError(
            f"expected indexes= to be band numbers from 1 to {count}, such as "
            f"indexes=1 or indexes=(1, {count}), got {indexes!r}"
        )
    return numbers


def _pick(values: Sequence[Any], numbers: Sequence[int]) -> tuple[Any, ...]:
    """Return the values of the bands that are read."""
    return tuple(values[number - 1] for number in numbers)


def _with_sensor(
    dataset: Any, numbers: tuple[int, ...], physical: Any, declared: dict[str, Any]
) -> dict[str, Any]:
    """Return keywords with the bands, the range and the nodata of their sensor.

    The descriptions in the raster may contain any names of the bands. If none does, a
    raster with as many bands as the sensor has those of the sensor.
    """
    given = dict(declared)
    facts = sensor(given.pop("sensor"))
    bands = given.pop("bands", None)
    if bands is None:
        indices = [number - 1 for number in numbers]
        bands = bands_from_descriptions(facts, dataset.descriptions, indices)
    if bands is None and len(dataset.descriptions) == len(facts.bands):
        bands = _pick(facts.bands, numbers)
    elif bands is None:
        raise ChannelError(
            f"the raster has {len(dataset.descriptions)} bands whose descriptions name "
            f"none of {facts.name!r}, which has {len(facts.bands)}: name the bands "
            "that are read, in their order, such as bands=('red', 'green', 'blue')"
        )
    keywords = sensor_keywords(facts.name, bands, given)
    descriptions = _pick(dataset.descriptions, numbers)
    official = describe_bands(facts, descriptions)
    pairs = zip(official, descriptions, strict=True)
    _check_order(keywords["bands"], tuple(known or text for known, text in pairs))
    has_nodata = set(_pick(dataset.nodatavals, numbers)) != {None}
    if has_nodata and "nodata" not in given:
        keywords.pop("nodata", None)
    if physical is not None and "range" not in given:
        keywords.pop("range", None)
    return keywords


def _source_bands(
    dataset: Any, numbers: tuple[int, ...], declared: Any
) -> tuple[str, ...]:
    """Return the names of the bands: those declared, or their GDAL descriptions."""
    descriptions = _pick(dataset.descriptions, numbers)
    interpretations = tuple(getattr(dataset, "colorinterp", ()))
    # Paletted bands have the colour interpretation "palette".
    for interpretation in interpretations:
        if getattr(interpretation, "name", interpretation) == "palette":
            raise ChannelError(
                "the raster holds indices into a palette, not intensities: look up the "
                "colours in dataset.colormap(1), and declare the gp.Source of the "
                "resulting array"
            )
    if declared is None:
        return _names_from_file(descriptions, numbers, len(dataset.descriptions))
    names = parse_bands(declared)
    if len(names) != len(descriptions):
        raise ChannelError(
            f"the raster has {len(descriptions)} bands, but bands= names {len(names)}: "
            "name each band, in the order of the raster"
        )
    _check_order(names, descriptions)
    return names


def _check_order(names: tuple[str, ...], descriptions: tuple[Any, ...]) -> None:
    """Raise ChannelError if the names are those of the raster in another order."""
    # They would silently swap bands.
    if set(names) == set(descriptions) and names != descriptions:
        raise ChannelError(
            f"the raster has the bands {descriptions} in this order, but bands= is "
            f"{names}: omit bands=, and let the plan reorder the bands"
        )


def _names_from_file(
    descriptions: tuple[Any, ...], numbers: tuple[int, ...], count: int
) -> tuple[str, ...]:
    """Return the descriptions, or the positions of bands that have none.

    Raises
    ------
    ChannelError
        If only some bands have a description, or two have the same one.
    """
    if not any(descriptions):
        if count == 1:
            return ("gray",)
        return number_bands(numbers)
    if all(descriptions) and len(set(descriptions)) == len(descriptions):
        return descriptions
    raise ChannelError(
        f"expected a distinct description for each band, got {descriptions}: pass the "
        "names of all bands, such as bands=('B02', 'B03', '...')"
    )


def _rescalings(dataset: Any, numbers: tuple[int, ...]) -> list[Rescaling]:
    """Return the scale and offset of each band that is read."""
    scales, offsets = _pick(dataset.scales, numbers), _pick(dataset.offsets, numbers)
    rescalings = []
    for scale, offset in zip(scales, offsets, strict=True):
        rescalings.append(parse_rescaling(scale, offset, "a band"))
    return rescalings


def _check_unscaled(rescalings: Sequence[Rescaling]) -> None:
    """Raise RangeError if stored values differ from physical ones."""
    if set(rescalings) == {IDENTITY}:
        return
    scales = [float(rescaling.slope) for rescaling in rescalings]
    offsets = [float(rescaling.intercept) for rescaling in rescalings]
    raise RangeError(
        f"the raster has scaled values (scales {scales}, offsets {offsets}), so its "
        "dtype does not imply black and white: declare physical=(black, white) in "
        "scaled values, or range= in stored values"
    )


def _stored_bits(dataset: Any, numbers: tuple[int, ...]) -> dict[str, Any]:
    """Return the keyword for samples of fewer bits than their dtype, if there are any.

    GDAL writes files of 12 bits, for example, and reads them as uint16. Its metadata
    domain IMAGE_STRUCTURE contains the number as NBITS.
    """
    if not hasattr(dataset, "tags"):
        return {}
    dtypes = [supported_dtype(dtype) for dtype in _pick(dataset.dtypes, numbers)]
    # For floating dtypes, NBITS=16 means half precision.
    if any(dtype.kind != "u" for dtype in dtypes):
        return {}
    bits = []
    for number, dtype in zip(numbers, dtypes, strict=True):
        tags = dataset.tags(number, ns="IMAGE_STRUCTURE")
        bits.append(int(tags.get("NBITS", 8 * dtype.itemsize)))
    if len(set(bits)) > 1:
        return {"range": [(0, 2**count - 1) for count in bits]}
    if bits[0] == 8 * dtypes[0].itemsize:
        return {}
    return {"bits": bits[0]}


def _common_value(values: Sequence[Any], name: str) -> Any:
    """Return the value that all bands share, or raise RangeError if they differ."""
    # Compare by repr, because NaN is a common nodata value and does not equal itself.
    if len({repr(value) for value in values}) > 1:
        raise RangeError(
            f"the bands differ in {name}, got {tuple(values)}: pass {name}= for the "
            "array returned by dataset.read()"
        )
    return values[0]


def _stored_range(
    physical: Any, rescalings: Sequence[Rescaling]
) -> list[tuple[float, ...]]:
    """Return (black, white) in stored values for each band."""
    if is_sequence_of_pairs(physical):
        pairs = [as_pair(part, "physical=") for part in physical]
        if len(pairs) != len(rescalings):
            raise ChannelError(
                f"expected physical to be one (black, white), or {len(rescalings)} "
                f"pairs, one per band, got {len(pairs)}"
            )
    else:
        pairs = [as_pair(physical, "physical=")] * len(rescalings)
    stored = []
    for black_white, rescaling in zip(pairs, rescalings, strict=True):
        exact = [parse_decimal(value, "physical=") for value in black_white]
        stored.append(to_stored(exact, rescaling))
    return stored


def _widen(dtype: str, ranges: Sequence[Sequence[float]]) -> str:
    """Return a dtype that holds the pixels and both bounds of each range."""
    values: list[float] = []
    for black_white in ranges:
        values += black_white
    element = supported_dtype(dtype)
    if element.kind != "f":
        values += limits(element)
    return widen_dtype(dtype, values)
