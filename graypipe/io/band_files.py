"""Read images stored as one file per band, as microscopes and satellites do."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import parse_bands
from ..errors import ChannelError, ReadError
from ..source import Source
from ..validation import is_sequence_of_pairs
from .image_file import read


def read_bands(
    files: Mapping[str, str | os.PathLike[str]],
    *,
    pattern: str | os.PathLike[str] | None = None,
    alpha: str = "error",
    orientation: str = "error",
    frame: int | str | None = None,
    **source: Any,
) -> tuple[NDArray[Any], Source]:
    """Read several files that contain one band each into one image.

    Parameters
    ----------
    files : mapping of str to str or path-like
        Band name -> path, such as ``{"R": "17_red.png", "G": "17_green.png"}``. If
        ``pattern`` is given: band name -> text to substitute for ``{}``.
    pattern : str or path-like, optional
        A path with one ``{}``: ``read_bands({"R": "red"}, pattern="17_{}.png")``.
    alpha, orientation, frame
        As for `read`, for every file.
    **source
        Keywords of `Source` except ``bands`` and ``layout``. ``range`` is one pair
        (black, white) for all files, or a sequence with one pair per file.

    Returns
    -------
    image : ndarray
        Shape (C, H, W), the bands in the order of ``files``; a new, writable array in
        native byte order.
    source : Source
        Bands, layout, dtype and range of ``image``.

    Raises
    ------
    ReadError
        If a file cannot be read, contains several bands, or differs from the first in
        size, dtype or the description of its values. The message names the files.
    ChannelError
        If the keys of ``files`` are not valid band names, if ``bands`` or ``layout``
        is passed, or if the number of ranges is not the number of files.
    DTypeError, LayoutError, RangeError, MissingExtraError
        As for `read`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> import graypipe as gp
    >>> folder = tempfile.TemporaryDirectory()
    >>> pattern = Path(folder.name) / "cell_{}.png"
    >>> for colour in ("red", "green"):
    ...     Image.new("I;16", (4, 2)).save(str(pattern).format(colour))
    >>> image, source = gp.read_bands(
    ...     {"R": "red", "G": "green"}, pattern=pattern, bits=12
    ... )
    >>> image.shape, source.bands, source.layout
    ((2, 2, 4), ('R', 'G'), 'CHW')
    >>> folder.cleanup()
    """
    paths = _paths(files, pattern)
    for name in ("bands", "layout"):
        if name in source:
            raise ChannelError(
                f"{name}= is not allowed: the keys of the mapping are the bands, and "
                "the layout is CHW"
            )
    keywords_per_file = _keywords_per_file(source, len(paths))
    for keywords, band in zip(keywords_per_file, paths, strict=True):
        keywords.update(
            alpha=alpha, orientation=orientation, frame=frame, bands=(band,)
        )
    first_path, *other_paths = paths.values()
    first_keywords, *other_keywords = keywords_per_file
    plane, first_source = read(first_path, **first_keywords)
    first_shape, native_dtype = plane.shape, plane.dtype.newbyteorder("=")
    image = np.empty((len(paths), *first_shape), native_dtype)
    image[0] = plane
    band_sources = [first_source]
    for path, keywords in zip(other_paths, other_keywords, strict=True):
        plane, band_source = read(path, **keywords)
        _check_compatible(
            (first_path, first_shape, first_source), (path, plane.shape, band_source)
        )
        image[len(band_sources)] = plane
        band_sources.append(band_source)
    return image, _merge(tuple(paths), band_sources)


def _paths(files: object, pattern: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return band name -> path, with the pattern filled in."""
    if not isinstance(files, Mapping):
        raise ChannelError(
            "expected a mapping from bands to files, such as "
            f'{{"R": "17_red.png"}}, got {files!r}'
        )
    bands = parse_bands(tuple(files))
    paths = [os.fspath(file) for file in files.values()]
    if pattern is not None:
        template = os.fspath(pattern)
        if template.count("{}") != 1:
            raise ReadError(f"expected exactly one {{}} in pattern, got {template!r}")
        paths = [template.replace("{}", text) for text in paths]
    return dict(zip(bands, paths, strict=True))


def _keywords_per_file(keywords: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return a new dictionary of `Source` keywords for each file."""
    ranges: Any = keywords.get("range")
    if not is_sequence_of_pairs(ranges):
        return [dict(keywords) for _ in range(count)]
    if len(ranges) != count:
        raise ChannelError(
            f"range= must be one (black, white), or one per band: expected {count} "
            f"pairs, got {len(ranges)}"
        )
    return [{**keywords, "range": pair} for pair in ranges]


def _check_compatible(
    first: tuple[str, tuple[int, ...], Source],
    other: tuple[str, tuple[int, ...], Source],
) -> None:
    """Raise ReadError if two files, (path, shape, source), cannot form one image.

    They may differ in their band, and in the range if it is known for both.
    """
    first_path, first_shape, first_source = first
    other_path, other_shape, other_source = other
    if (
        first_shape != other_shape
        or (first_source.range is None) != (other_source.range is None)
        or _without_band(first_source) != _without_band(other_source)
    ):
        raise ReadError(
            "all bands of an image must have the same shape and kind of values: "
            f"{first_path} has shape {first_shape} and {first_source}, but "
            f"{other_path} has shape {other_shape} and {other_source}"
        )


def _without_band(source: Source) -> Source:
    """Return the source without the fields that may differ between bands."""
    return replace(source, bands=("any",), range=None)


def _merge(bands: tuple[str, ...], sources: list[Source]) -> Source:
    """Return the source of the stacked bands."""
    ranges: Any = [source.range for source in sources if source.range is not None]
    return replace(sources[0], bands=bands, layout="CHW", range=ranges or None)
