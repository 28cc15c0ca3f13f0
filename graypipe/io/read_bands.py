"""One file a band, as microscopes and satellites store them, read into one array."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bands as names
from ..errors import ChannelError, ReadError
from ..source import Pair, Source
from ..validation import is_sequence
from .read import read


def read_bands(
    files: Mapping[str, str | os.PathLike[str]],
    *,
    pattern: str | os.PathLike[str] | None = None,
    alpha: str = "error",
    orientation: str = "error",
    frame: int | str | None = None,
    **source: Any,
) -> tuple[NDArray[Any], Source]:
    """Return (image, source) of files that hold one band each: (C, H, W), the bands in the order of ``files``.

    ``files`` maps a band to its path: ``{"R": "17_red.png", "G": "17_green.png"}``; with ``pattern``, to what stands
    in the path in place of ``{}``: ``read_bands({"R": "red", "G": "green"}, pattern="cells/17_{}.png")``. The other
    arguments are those of `read`, for every file; ``range`` is one pair, or one a band.

    The array is fresh and writable. ReadError, naming the files, where their sizes, dtypes or what they state of their
    values differ; else what `read` raises, also where a file holds several bands.
    """
    paths = _paths(files, pattern)
    if refused := {"bands", "layout"} & set(source):
        raise ChannelError(
            f"the keys of the mapping are the bands, and the layout is CHW: leave {sorted(refused)} away"
        )
    ranges = _ranges(source, len(paths))
    policies: dict[str, Any] = {
        "alpha": alpha,
        "orientation": orientation,
        "frame": frame,
    }
    image, sources = np.empty(0), list[Source]()
    for place, (band, path) in enumerate(paths.items()):
        plane, held = read(
            path, **policies, **{**source, **ranges[place], "bands": (band,)}
        )
        if not sources:
            image = np.empty((len(paths), *plane.shape), plane.dtype.newbyteorder("="))
        sources.append(held)
        _check_alike(paths, place, (plane.shape, held), (image.shape[1:], sources[0]))
        image[place] = plane
    return image, _joined(tuple(paths), sources)


def _paths(files: object, pattern: str | os.PathLike[str] | None) -> dict[str, str]:
    if not isinstance(files, Mapping):
        raise ChannelError(
            f'expected a mapping from bands to files, as {{"R": "17_red.png"}}, got {files!r}'
        )
    bands = names.parse(tuple(files))
    parts = [os.fspath(part) for part in files.values()]
    if pattern is None:
        return dict(zip(bands, parts, strict=True))
    form = os.fspath(pattern)
    if form.count("{}") != 1:
        raise ReadError(
            f"a pattern has one {{}}, where the word for the band stands, got {form!r}"
        )
    return {
        band: form.replace("{}", part) for band, part in zip(bands, parts, strict=True)
    }


def _ranges(source: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the keyword range= for every file: one pair for all, or one a band."""
    declared = source.get("range")
    if not is_sequence(declared) or not all(is_sequence(pair) for pair in declared):  # type: ignore[union-attr]
        return [{}] * count
    if len(declared) != count:  # type: ignore[arg-type]
        raise ChannelError(
            f"range is one pair or one a band: expected {count}, got {declared}"
        )
    return [{"range": pair} for pair in declared]  # type: ignore[union-attr]


def _check_alike(
    paths: Mapping[str, str],
    place: int,
    read: tuple[Any, Source],
    first: tuple[Any, Source],
) -> None:
    """Raise ReadError where a file differs from the first in more than its band and its declared range."""
    texts = []
    for shape, held in (first, read):
        ranged = "range" if held.range is not None else None
        texts.append(
            f"{shape} {held.dtype}, {replace(held, bands=('any',), range=None)}, {ranged}"
        )
    if texts[0] != texts[1]:
        files = list(paths.values())
        raise ReadError(
            f"the bands of one image are alike: {files[0]} holds {texts[0]}, {files[place]} holds {texts[1]}"
        )


def _joined(bands: tuple[str, ...], sources: list[Source]) -> Source:
    ranges: tuple[Pair, ...] = tuple(
        held.range for held in sources if held.range is not None
    )  # type: ignore[misc]
    return replace(sources[0], bands=bands, layout="CHW", range=ranges or None)
