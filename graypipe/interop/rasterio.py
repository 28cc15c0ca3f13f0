"""Derive the keywords of a `Source` from a raster opened by rasterio.

rasterio exposes the GDAL data model: each band has a description, a data type, an
optional nodata value, a colour interpretation, and a scale and an offset that convert
stored values to physical ones.
"""

from collections.abc import Sequence
from typing import Any

from ..bands import parse_bands
from ..engine import element_type, limits
from ..errors import ChannelError, RangeError
from ..validation import as_pair, is_ordered_iterable
from .rescale import (
    IDENTITY,
    Rescaling,
    parse_decimal,
    parse_rescaling,
    to_stored,
    widen_dtype,
)


def source_keywords(
    dataset: Any, physical: Any, declared: dict[str, Any]
) -> dict[str, Any]:
    """Return the keywords of the source that describes ``dataset.read()``.

    Parameters
    ----------
    dataset : rasterio.io.DatasetReader
        An open raster, or any object with its attributes.
    physical : sequence or None
        Black and white in physical values: one pair, or one pair per band.
    declared : dict
        Keywords that the caller declares. They override the metadata of the raster.

    Returns
    -------
    dict
        Keyword arguments for `Source`.

    Raises
    ------
    ChannelError
        If ``dataset`` is not a raster, has a palette, or its bands lack usable names.
    RangeError
        If the bands differ in dtype or nodata, or if black and white are ambiguous.

    See Also
    --------
    graypipe.Source.from_rasterio : The public interface, with the rules in detail.
    """
    if not hasattr(dataset, "descriptions"):
        raise ChannelError(
            f"expected a raster opened by rasterio.open, got a {type(dataset).__name__}"
        )
    source: dict[str, Any] = {
        "layout": "CHW",  # DatasetReader.read() returns (bands, rows, columns).
        **declared,
        "bands": _source_bands(dataset, declared.get("bands")),
    }
    # GDAL stores a dtype and a nodata value per band, but a Source has one of each.
    if "dtype" not in declared:
        source["dtype"] = _common_value(dataset.dtypes, "dtype")
    if "nodata" not in declared:
        source["nodata"] = _common_value(dataset.nodatavals, "nodata")
    rescalings = []
    for scale, offset in zip(dataset.scales, dataset.offsets, strict=True):
        rescalings.append(parse_rescaling(scale, offset, "a band"))
    range_declared = (
        declared.get("range") is not None or declared.get("bits") is not None
    )
    if physical is None:
        if not range_declared and set(rescalings) != {IDENTITY}:
            raise RangeError(
                f"the raster has scaled values (scales {dataset.scales}, offsets "
                f"{dataset.offsets}), so its dtype does not imply black and white: "
                "declare physical=(black, white) in scaled values, or range= in "
                "stored values"
            )
        return source
    if range_declared:
        raise RangeError(
            "physical= and range= or bits= both declare black and white: declare only "
            "one of them"
        )
    source["range"] = _stored_range(physical, rescalings)
    if "dtype" not in declared:
        source["dtype"] = _widen(source["dtype"], source["range"])
    return source


def _source_bands(dataset: Any, declared: Any) -> tuple[str, ...]:
    """Return the names of the bands: those declared, or their GDAL descriptions."""
    descriptions = tuple(dataset.descriptions)
    # Paletted bands have the colour interpretation "palette".
    for interpretation in getattr(dataset, "colorinterp", ()):
        if getattr(interpretation, "name", interpretation) == "palette":
            raise ChannelError(
                "the raster holds indices into a palette, not intensities: look up the "
                "colours in dataset.colormap(1), and declare the gp.Source of the "
                "resulting array"
            )
    if declared is None:
        _check_descriptions(descriptions)
        return descriptions
    names = parse_bands(declared)
    if len(names) != len(descriptions):
        raise ChannelError(
            f"the raster has {len(descriptions)} bands, but bands= names {len(names)}: "
            "name each band, in the order of the raster"
        )
    # The same names in another order would silently swap bands.
    if set(names) == set(descriptions) and names != descriptions:
        raise ChannelError(
            f"the raster has the bands {descriptions} in this order, but bands= is "
            f"{names}: omit bands=, and let the plan reorder the bands"
        )
    return names


def _check_descriptions(descriptions: tuple[Any, ...]) -> None:
    """Raise ChannelError unless each band has a distinct description."""
    if all(descriptions) and len(set(descriptions)) == len(descriptions):
        return
    example: Any = ("B02", "B03", "...")
    if len(descriptions) == 1:
        example = "gray"
    raise ChannelError(
        f"expected a distinct description for each band, got {descriptions}: pass the "
        f"names of all bands, such as bands={example!r}"
    )


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
    per_band = is_ordered_iterable(physical) and all(
        is_ordered_iterable(part) for part in physical
    )
    if per_band:
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
    element = element_type(dtype)
    if element.kind != "f":
        values += limits(element)
    return widen_dtype(dtype, values)
