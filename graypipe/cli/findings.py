"""What `graypipe inspect` finds in one file, as a record that JSON can hold.

Pixels only ever advise: nothing that is found here enters a source or a plan.
"""

import os
from collections.abc import Callable, Iterator
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import Source, read
from ..errors import GraypipeError, ReadError
from ..io import facts
from ..serialization import to_record

Record = dict[str, Any]

SUFFIXES = (
    *(
        ".png",
        ".jpg",
        ".jpeg",
        ".tif",
        ".tiff",
        ".gif",
        ".bmp",
        ".webp",
        ".npy",
        ".npz",
    ),
    *(
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pfm",
        ".jp2",
        ".j2k",
        ".jxl",
        ".avif",
        ".heic",
        ".heif",
        ".exr",
        ".psd",
    ),
)
"""A file in a folder whose name ends so is meant to be an image: where it cannot be read, that is an error."""

DICOM = "read it with pydicom.dcmread, and its attributes with gp.Source.from_dicom"

UNKNOWN = "-"

DEPTHS = (8, 10, 12, 14)
"""Bits of the sensors whose images come in 16-bit files."""


def files(*paths: Path) -> Iterator[Path]:
    """Yield the files in the folders ``paths`` and below, sorted; what cannot be listed, such as a file, as itself.

    What is reached twice comes once. A link that leads above the folder it was reached from is not followed.
    """
    given = {os.path.realpath(path): path for path in reversed(paths)}
    seen: set[str] = set()
    for root, path in reversed(given.items()):
        unlisted: list[str] = []
        for folder, below, names in os.walk(
            path, onerror=_named(unlisted), followlinks=True
        ):
            real = os.path.realpath(folder)
            if real in seen or (real != root and Path(root).is_relative_to(real)):
                below.clear()
                continue
            seen.add(real)
            below.sort()
            yield from (
                Path(folder, name)
                for name in sorted(names)
                if str(Path(real, name)) not in given
            )
        yield from map(Path, unlisted)


def _named(unlisted: list[str]) -> Callable[[OSError], None]:
    return lambda error: unlisted.append(error.filename)


def examine(path: Path, named: bool) -> Record:
    """Return what the file is, how `gp.read` reads it or why it does not, and what looks wrong.

    ``kind`` is "image", "DICOM", "unreadable", or "no image", which a file that a person ``named`` never is.
    ``error`` is the reason where it cannot be read as it is. Where it can, ``source`` is what `gp.read` says of it and
    ``values`` are the least and the greatest of its pixels.
    """
    record: Record = {"path": str(path), "kind": "image", "error": None, "notes": []}
    try:
        if _is_dicom(path):
            return {**record, "kind": "DICOM", "format": "DICOM", "notes": [DICOM]}
        record |= facts(path)
    except (GraypipeError, OSError) as error:
        if (
            isinstance(error, ReadError)
            and not named
            and path.suffix.lower() not in SUFFIXES
        ):
            return {**record, "kind": "no image"}
        return {**record, "kind": "unreadable", "error": _reason(error, path)}
    try:
        record |= _pixels(*read(path))
    except GraypipeError as error:
        return {**record, "error": _reason(error, path)}
    if record["alpha"]:
        record["notes"].append("its alpha is opaque everywhere, and left away")
    return record


def size(record: Record) -> str:
    """Return width, height and frames, as far as the header tells them."""
    if not record.get("width"):
        return UNKNOWN
    return f"{record['width']}x{record['height']}" + (
        f"x{record['frames']}" if record["frames"] > 1 else ""
    )


def _is_dicom(path: Path) -> bool:
    if (
        path.exists() and not path.is_file()
    ):  # opening a pipe would wait for whoever writes into it
        raise OSError(
            "expected an image file, got a folder that cannot be listed, a pipe or a device"
        )
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _reason(error: Exception, path: Path) -> str:
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def _pixels(image: NDArray[Any], source: Source) -> Record:
    others: tuple[int, ...] = tuple(
        axis for axis, letter in enumerate(source.layout) if letter != "C"
    )
    held = image
    if source.nodata is not None:
        held, others = _without(image, source), (0,)
    if not held.size:
        return {
            "source": to_record(source),
            "values": [None, None],
            "notes": ["nodata everywhere"],
        }
    lows, highs = (
        np.atleast_1d(reduce(held, axis=others))
        for reduce in (np.fmin.reduce, np.fmax.reduce)
    )
    low, high = np.fmin.reduce(lows).item(), np.fmax.reduce(highs).item()
    constant = [
        name
        for name, a, b in zip(source.bands, lows, highs, strict=True)
        if a == b and isfinite(a)
    ]
    return {
        "source": to_record(source),
        "values": [value if isfinite(value) else None for value in (low, high)],
        "notes": [
            *_constant(constant, source.bands, low),
            *_range(held, source, low, high),
        ],
    }


def _without(image: NDArray[Any], source: Source) -> NDArray[Any]:
    """Return the pixels that are data in every band, (n,) or (n, C)."""
    clear: Any = source.nodata
    hit = np.isnan(image) if isnan(clear) else image == clear
    axis = source.layout.find("C")
    kept: NDArray[Any] = (
        image[~hit] if axis < 0 else np.moveaxis(image, axis, -1)[~hit.any(axis)]
    )
    return kept


def _constant(constant: list[str], bands: tuple[str, ...], value: float) -> list[str]:
    if len(constant) == len(bands):
        return (
            ["constant: there is nothing to see in any band"]
            if len(bands) > 1
            else [f"constant: all {value:g}"]
        )
    return [f"constant in {', '.join(constant)}"] if constant else []


def _range(image: NDArray[Any], source: Source, low: float, high: float) -> list[str]:
    """Return what the values say about the range that the dtype implies, or the file states."""
    if image.dtype.kind == "f":
        return _floating(image, low, high)
    if image.dtype == "uint16" and not source._declares_range:
        return looks_like(int(high))
    ends = [max(pair) for pair in source._pairs(image.dtype)]
    return (
        [f"dark: values up to {high} of {max(ends):g}"]
        if 1 < high < max(ends) / 4
        else []
    )


def _floating(image: NDArray[Any], low: float, high: float) -> list[str]:
    if isnan(low):
        return ["holds nothing but NaN"]
    notes = []
    if np.isnan(image).any():
        notes.append("holds NaN: declare nodata=float('nan'), or they pass through")
    if not (isfinite(low) and isfinite(high)):
        notes.append("holds an infinite value")
    elif low < -1 or high > 2:
        notes.append(
            f"floats from {low:g} to {high:g} are not 0 to 1: declare range=(black, white)"
        )
    return notes


def looks_like(high: int) -> list[str]:
    """Return the advice, if any, on uint16 values of which ``high`` is the greatest."""
    bits = next((depth for depth in DEPTHS if high < 2**depth), None)
    if bits is None or high < 2:
        return []
    return [
        f"values up to {high} of 65535 look like {bits} bits: declare bits={bits} where the device gives {bits}"
    ]
