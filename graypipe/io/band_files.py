"""`read_bands` reads one file per band, as microscopes and satellites write them."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import parse_bands
from ..errors import ChannelError, ReadError
from ..source import Source
from ..validation import is_ordered_iterable
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
    """Read files that hold one band each into one image.

    Parameters
    ----------
    files : mapping of str to str or path-like
        Band name -> path, such as ``{"R": "17_red.png", "G": "17_green.png"}``; with
        `pattern`, band name -> the text that replaces ``{}`` in it.
    pattern : str or path-like, optional
        A path with one ``{}``: ``read_bands({"R": "red"}, pattern="17_{}.png")``.
    alpha, orientation, frame
        As for `read`, for every file.
    **source
        Keywords of `Source` except bands and layout. ``range`` is one (black, white)
        for all files, or a sequence with one for each.

    Returns
    -------
    image : ndarray
        Shape (C, H, W), the bands in the order of `files`; a new, writable array in
        native byte order.
    source : Source
        Bands, layout, dtype and range of `image`.

    Raises
    ------
    ReadError
        If a file cannot be read, holds several bands, or differs from the first in
        size, dtype or what it states of its values. The message names the files.
    ChannelError
        If the keys of `files` are no band names, bands or layout are declared as
        well, or the number of ranges is not that of the files.
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
    >>> for word in ("red", "green"):
    ...     Image.new("I;16", (4, 2)).save(str(pattern).format(word))
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
                f"omit {name}=: the keys of the mapping are the bands, and the layout "
                f"is CHW"
            )
    keywords_per_file = _keywords_per_file(source, len(paths))
    image: NDArray[Any] = np.empty(0)
    band_sources: list[Source] = []
    for index, (band, path) in enumerate(paths.items()):
        plane, band_source = read(
            path,
            alpha=alpha,
            orientation=orientation,
            frame=frame,
            bands=(band,),
            **keywords_per_file[index],
        )
        if index == 0:
            first_path = path
            native_dtype = plane.dtype.newbyteorder("=")
            image = np.empty((len(paths), *plane.shape), native_dtype)
        band_sources.append(band_source)
        _check_alike(
            (first_path, image.shape[1:], band_sources[0]),
            (path, plane.shape, band_source),
        )
        image[index] = plane
    return image, _merge(tuple(paths), band_sources)


def _paths(files: object, pattern: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return band name -> path, with the pattern filled in."""
    if not isinstance(files, Mapping):
        raise ChannelError(
            f"expected a mapping from bands to files, such as "
            f'{{"R": "17_red.png"}}, got {files!r}'
        )
    bands = parse_bands(tuple(files))
    paths = [os.fspath(file) for file in files.values()]
    if pattern is not None:
        template = os.fspath(pattern)
        if template.count("{}") != 1:
            raise ReadError(
                f"expected a pattern with one {{}}, which the word of each band "
                f"replaces, got {template!r}"
            )
        paths = [template.replace("{}", word) for word in paths]
    return dict(zip(bands, paths, strict=True))


def _keywords_per_file(keywords: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the keywords of `Source` for each file, with one range for each."""
    ranges: Any = keywords.get("range")
    one_range_per_band = is_ordered_iterable(ranges) and all(
        is_ordered_iterable(black_and_white) for black_and_white in ranges
    )
    if not one_range_per_band:
        return [dict(keywords)] * count
    if len(ranges) != count:
        raise ChannelError(
            f"range= must be one (black, white), or one per band: expected {count}, "
            f"got {ranges}"
        )
    return [{**keywords, "range": black_and_white} for black_and_white in ranges]


def _check_alike(
    first: tuple[str, tuple[int, ...], Source],
    other: tuple[str, tuple[int, ...], Source],
) -> None:
    """Raise ReadError if two files, (path, shape, source), cannot be one image.

    They may differ in their band, and in the range if both declare one.
    """
    first_path, first_shape, first_source = first
    other_path, other_shape, other_source = other
    if (
        first_shape != other_shape
        or (first_source.range is None) != (other_source.range is None)
        or _without_band(first_source) != _without_band(other_source)
    ):
        raise ReadError(
            f"all bands of an image must have the same shape and kind of values: "
            f"{first_path} holds {first_shape} {first_source}, "
            f"{other_path} holds {other_shape} {other_source}"
        )


def _without_band(source: Source) -> Source:
    """Return the source without what may differ between the bands of an image."""
    return replace(source, bands=("any",), range=None)


def _merge(bands: tuple[str, ...], sources: list[Source]) -> Source:
    """Return the source of the stacked bands."""
    ranges: Any = [source.range for source in sources if source.range is not None]
    return replace(sources[0], bands=bands, layout="CHW", range=ranges or None)
