"""Read images stored as one file per band, as microscopes and satellites do."""

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import format_bands, parse_bands
from ..errors import ChannelError, DTypeError, ReadError
from ..messages import describe_value
from ..source import Source
from ..validation import (
    check_nodata_count,
    is_ordered_iterable,
    is_sequence_of_pairs,
    merge_nodata,
)
from .image_file import read
from .source_check import check_range_count

FilePath = str | os.PathLike[str]

# Maximum number of names in a message.
MAX_LISTED_NAMES = 6


def read_bands(
    files: FilePath | Sequence[FilePath] | Mapping[str, FilePath],
    *,
    bands: str | Sequence[str] | None = None,
    pattern: str | os.PathLike[str] | None = None,
    alpha: str = "error",
    orientation: str = "error",
    frame: int | str | None = None,
    **source: Any,
) -> tuple[NDArray[Any], Source]:
    """Read several files that contain one band each into one image.

    Parameters
    ----------
    files : mapping, str, path-like or sequence
        - Band name -> path, such as ``{"R": "17_red.png", "G": "17_green.png"}``.
        - A path with one ``*``: ``read_bands("17_*.png")``. The text that ``*`` matches
          is the name of the band, here "green" and "red". Bands are sorted by name, and
          numbers in names by value: "B2" comes before "B10".
        - A list of paths, with their bands:
          ``read_bands([first, second], bands="RG")``.
        - If ``pattern`` is given: band name -> text to substitute for ``{}``, or just
          the band names: ``read_bands("RGBY", pattern="17_{}.png")``.
    bands : str or sequence of str, optional
        The bands of a list of paths, in its order. For a path with ``*``, the bands to
        read, in this order: ``bands=("red", "green")``.
    pattern : str or path-like, optional
        A path with one ``{}``: ``read_bands({"R": "red"}, pattern="17_{}.png")``.
    alpha, orientation, frame
        As for `read`, for every file.
    **source
        Keywords of `Source` except ``layout``. ``range`` is one pair
        (black, white) for all files, or a sequence with one pair per file.

    Returns
    -------
    image : ndarray
        Shape (C, H, W), the bands in the order of ``source.bands``; a new, writable
        array in native byte order.
    source : Source
        Bands, layout, dtype and range of ``image``.

    Raises
    ------
    ReadError
        If no file matches, if a file cannot be read, contains several bands, or differs
        from the first in size, dtype or the description of its values. The message
        names the files.
    ChannelError
        If the band of a file is unknown or contradicts the name of the file, if band
        names are not valid, if ``layout`` is passed, or if the number of ranges is not
        the number of files.
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
    >>> image, source = gp.read_bands(Path(folder.name) / "cell_*.png", bits=12)
    >>> source.bands
    ('green', 'red')
    >>> folder.cleanup()
    """
    if "layout" in source:
        raise ChannelError(
            "layout= is not allowed: the bands are stacked, so the layout is CHW"
        )
    paths = _paths(files, bands, pattern)
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
    return image, _merge(band_sources)


def _file(file: Any) -> Any:
    """Return a path as text, or the bytes of a file, or raise DTypeError."""
    if not isinstance(file, str | bytes | os.PathLike):
        raise DTypeError(
            f"expected the path of a file of one band, got {describe_value(file)}: "
            "stack arrays with np.stack([red, green, blue], axis=-1), and declare "
            "their bands in a Source"
        )
    return os.fspath(file)


def _paths(files: Any, bands: Any, pattern: FilePath | None) -> dict[str, str]:
    """Return band name -> path for the arguments of `read_bands`."""
    if isinstance(files, Mapping):
        if bands is not None:
            raise ChannelError(
                "bands= is not allowed with a mapping: its keys are the bands"
            )
        names = parse_bands(tuple(files))
        texts = [_file(file) for file in files.values()]
    elif pattern is not None:
        names = parse_bands(files if bands is None else bands)
        texts = list(parse_bands(files))
        _check_count(len(texts), names)
    elif isinstance(files, str | os.PathLike):
        return _matching_files(os.fspath(files), bands)
    elif isinstance(files, list | tuple):
        names = _names_of_files(files, bands)
        texts = [_file(file) for file in files]
    else:
        # An iterator such as Path.glob has no defined order.
        raise ChannelError(
            'expected a mapping from bands to files, such as {"R": "17_red.png"}, a '
            'path with "*", or a list of files with bands=, got '
            f"{type(files).__name__}"
        )
    if pattern is not None:
        template = os.fspath(pattern)
        if template.count("{}") != 1:
            raise ReadError(f"expected exactly one {{}} in pattern, got {template!r}")
        texts = [template.replace("{}", text) for text in texts]
    return dict(zip(names, texts, strict=True))


def _matching_files(path: str, bands: Any) -> dict[str, str]:
    """Return band name -> path for the files that ``path``, with one "*", matches."""
    if path.count("*") != 1 or "://" in path:
        raise ReadError(
            f'expected a local path with exactly one "*", such as "17_*.png", got '
            f"{path!r}: for band names, add pattern='17_{{}}.png'; otherwise pass a "
            "mapping from bands to files. gp.read reads a single file"
        )
    before, after = path.split("*")
    # Only "*" is special: brackets and question marks are common in names of folders.
    files = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}")  # noqa: PTH207
    paths = {}
    for file in files:
        name = file[len(before) : len(file) - len(after)]
        paths[name] = file
    if not paths:
        raise ReadError(f"no file matches {path!r}: check the folder and the suffix")
    sorted_names = sorted(paths, key=_natural_order)
    if bands is None:
        return {name: paths[name] for name in parse_bands(sorted_names)}
    names = parse_bands(bands)
    missing = [name for name in names if name not in paths]
    if missing:
        template = path.replace("*", "{}")
        raise ChannelError(
            f"bands= names {_listed(missing)}, but {path!r} matches "
            f"{_listed(sorted_names)}: name these, or say which of them each band is: "
            f'gp.read_bands({{"{missing[0]}": "<one of these>", ...}}, '
            f"pattern={template!r})"
        )
    return {name: paths[name] for name in names}


def _natural_order(name: str) -> tuple[list[str | int], str]:
    """Return a sort key by which the numbers in names are ordered by value."""
    # Text and numbers alternate, and text comes first, so that keys can be compared.
    parts: list[str | int] = list(re.split(r"([0-9]+)", name))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _names_of_files(files: Sequence[FilePath], bands: Any) -> tuple[str, ...]:
    """Return the bands of a list of files.

    Raises
    ------
    ChannelError
        If there are no bands, if their number is wrong, or if the name of a band is
        part of the name of another file.
    """
    if bands is None:
        raise ChannelError(
            f"a list of {len(files)} files does not say which band each of them is: "
            'add bands=, such as bands="RGB", in the order of the files, or pass a '
            'mapping, such as {"R": "17_red.png"}'
        )
    names = parse_bands(bands)
    _check_count(len(files), names)
    words = [set(re.split(r"[\W_]+", os.path.basename(file))) for file in files]  # noqa: PTH119
    for position, name in enumerate(names):
        mentioned = [index for index, parts in enumerate(words) if name in parts]
        if len(mentioned) == 1 and mentioned[0] != position:
            raise ChannelError(
                f"bands= says that {os.fspath(files[position])!r} is {name!r}, but "
                f"only the name of {os.fspath(files[mentioned[0]])!r} contains it: "
                "correct the order of the files or bands, or pass a mapping from bands "
                "to files, which is not compared"
            )
    return names


def _check_count(count: int, names: tuple[str, ...]) -> None:
    """Raise ChannelError unless there is one name for each of ``count`` files."""
    if len(names) != count:
        raise ChannelError(
            f"expected one band per file, got {count} files and {len(names)} bands, "
            f"{_listed(names)}"
        )


def _listed(names: Sequence[str]) -> str:
    """Return the first names in the form of `Source`, for a message."""
    text = format_bands(tuple(names[:MAX_LISTED_NAMES]))
    if len(names) > MAX_LISTED_NAMES:
        text += f" and {len(names) - MAX_LISTED_NAMES} more"
    return text


def _keywords_per_file(keywords: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return a new dictionary of `Source` keywords for each file."""
    per_file = [dict(keywords) for _ in range(count)]
    ranges: Any = keywords.get("range")
    if is_sequence_of_pairs(ranges):
        check_range_count(len(ranges), count)
        for file_keywords, pair in zip(per_file, ranges, strict=True):
            file_keywords["range"] = pair
    if is_ordered_iterable(keywords.get("nodata")):
        values = list(keywords["nodata"])
        check_nodata_count(len(values), count)
        for file_keywords, value in zip(per_file, values, strict=True):
            file_keywords["nodata"] = value
    return per_file


def _check_compatible(
    first: tuple[str, tuple[int, ...], Source],
    other: tuple[str, tuple[int, ...], Source],
) -> None:
    """Raise ReadError if two files, (path, shape, source), cannot form one image.

    They may differ in their band, in nodata, and in the range if it is known for both.
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
    return replace(source, bands=("any",), range=None, nodata=None, sensor=None)


def _merge(sources: list[Source]) -> Source:
    """Return the source of the stacked bands."""
    bands = tuple(source.bands[0] for source in sources)
    ranges: Any = [source.range for source in sources if source.range is not None]
    nodata: Any = merge_nodata([source.nodata for source in sources])
    return replace(
        sources[0], bands=bands, layout="CHW", range=ranges or None, nodata=nodata
    )
