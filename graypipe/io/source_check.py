"""Build the `Source` of an image from its file and the keywords of the caller."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layouts
from ..bands import format_bands, parse_bands
from ..errors import RangeError, ReadError
from ..source import Source
from .decoded import DecodedImage


def build_source(
    decoded: DecodedImage, image: NDArray[Any], keywords: Mapping[str, Any]
) -> Source:
    """Return the `Source` of an image that was read.

    Parameters
    ----------
    decoded : DecodedImage
        What the file holds and states.
    image : ndarray
        The image that `graypipe.read` returns, after both policies.
    keywords : mapping
        Keywords of `Source` that the caller of `graypipe.read` declares.

    Raises
    ------
    ReadError
        If the keywords contradict the file, or something has to be declared because
        the file does not state it.
    ChannelError, DTypeError, LayoutError, RangeError
        If the keywords contradict each other or the image.
    """
    stated: dict[str, Any] = {"dtype": image.dtype, **decoded.source_keywords}
    if "bits" in keywords or "range" in keywords:
        # A declared range replaces a stated one; `Source` accepts only one of the two.
        stated.pop("bits", None)
        stated.pop("range", None)
    if decoded.layout is not None:
        stated["layout"] = decoded.layout
        stated["bands"] = _checked_bands(decoded, decoded.layout, image.shape, keywords)
    source = Source(**{**stated, **keywords})
    layouts.check_shape(image.shape, source.layout, len(source.bands))
    _check_range(decoded.source_keywords, source)
    _check_range_is_known(source, image.dtype)
    return source


def _checked_bands(
    decoded: DecodedImage,
    layout: str,
    shape: tuple[int, ...],
    keywords: Mapping[str, Any],
) -> tuple[str, ...]:
    """Return the bands of the file; ReadError if the keywords contradict them."""
    count = 1
    if "C" in layout:
        count = shape[layout.index("C")]
    if decoded.bands is not None:
        stored = parse_bands(decoded.bands)
    elif "bands" in keywords:
        stored = parse_bands(keywords["bands"])
    else:
        raise ReadError(_missing_bands_message(count))
    declared = parse_bands(keywords.get("bands", stored))
    declared_layout = keywords.get("layout", layout)
    if len(declared) != count or layouts.parse(declared_layout) != layout:
        count_text = "1 band" if count == 1 else f"{count} bands"
        raise ReadError(
            f"the file holds {count_text} as {layout}, the keywords declare "
            f"{format_bands(declared)} as {declared_layout}"
        )
    # Renaming bands is allowed. Reusing a name of the file for another of its bands is
    # not: it would exchange the bands without moving any data.
    for declared_name, stored_name in zip(declared, stored, strict=True):
        if declared_name != stored_name and declared_name in stored:
            raise ReadError(
                f"the file holds {format_bands(stored)} in this order, the keywords "
                f"declare {format_bands(declared)}: declare the bands as stored, "
                f"and let a plan reorder them"
            )
    return stored


def _missing_bands_message(count: int) -> str:
    example = tuple(f"B{number:02}" for number in range(1, count + 1))
    return (
        f"the file holds {count} bands and does not name them: declare their names in "
        f"stored order, such as bands={format_bands(example)}"
    )


def _check_range(stated: Mapping[str, Any], source: Source) -> None:
    """Raise ReadError if the depth or direction of the range contradicts the file."""
    if "bits" in stated and source.bits not in (None, stated["bits"]):
        raise ReadError(
            f"the file states {stated['bits']} bits, the keywords declare {source.bits}"
        )
    if "range" not in stated:
        return
    black, white = stated["range"]
    if black < white:
        return
    # TIFF can store 0 as white. An ascending range would then invert the image.
    for declared_black, declared_white in source._pairs(None):
        if declared_black < declared_white:
            raise ReadError(
                f"in this file low values are white: omit bits= and range= to get "
                f"range={stated['range']}, or declare a range with its larger end "
                f"first, such as range=(4095, 0)"
            )


def _check_range_is_known(source: Source, dtype: np.dtype[Any]) -> None:
    """Raise ReadError if neither the file, the keywords nor the dtype give a range."""
    try:
        source._pairs(dtype)
    except RangeError:
        if source._declares_range:
            raise
        raise ReadError(
            f"the file holds {dtype}, which does not imply a black and a white level: "
            f"declare range=(black, white), such as range=(0, 4095), or bits="
        ) from None
