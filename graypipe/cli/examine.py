"""Examine one image file: what it is, how it is read, and likely problems.

The pixel values are used for advice only. They never change how an image is read or
converted.
"""

from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import Source
from ..errors import GraypipeError, ReadError
from ..io import facts, read
from ..serialization import to_record
from ..stats.accumulators import missing_pixels
from .image_files import has_image_suffix
from .sensor_statistics import SensorStatistics

Record = dict[str, Any]

DICOM_ADVICE = 'read it with gp.read(path, window=...), such as window="auto"'

# Common bit depths of sensors. Cameras and microscopes store such images in 16-bit
# files.
SENSOR_BITS = (8, 10, 12, 14)

# A DICOM file starts with 128 arbitrary bytes and this signature (DICOM PS3.10, 7.1).
DICOM_SIGNATURE_OFFSET = 128
DICOM_SIGNATURE = b"DICM"


def examine(
    path: Path, is_argument: bool, statistics: SensorStatistics | None = None
) -> Record:
    """Examine a file.

    Parameters
    ----------
    path : Path
        The file.
    is_argument : bool
        Whether the file was passed on the command line, rather than found in a folder.
        If so, it is treated as an image regardless of its suffix.
    statistics : SensorStatistics, optional
        Statistics to which the image is added.

    Returns
    -------
    dict
        A record that can be stored as JSON:

        - ``path``: the path
        - ``kind``: "image", "DICOM", "unreadable" or "no image"
        - ``error``: why it cannot be read with the default options, or None
        - ``notes``: a list of likely problems, one sentence each
        - for images, the result of `graypipe.io.facts`
        - for images that can be read, ``source`` as `graypipe.read` returns it, and
          ``values``: the minimum and the maximum
    """
    record: Record = {"path": str(path), "kind": "image", "error": None, "notes": []}
    try:
        if _is_dicom(path):
            return record | {
                "kind": "DICOM",
                "format": "DICOM",
                "notes": [DICOM_ADVICE],
            }
        record |= facts(path)
    except (GraypipeError, OSError) as error:
        is_expected = is_argument or has_image_suffix(path)
        if isinstance(error, ReadError) and not is_expected:
            return record | {"kind": "no image"}
        return record | {"kind": "unreadable", "error": _reason(error, path)}
    try:
        image, source = read(path, **_sensor_keywords(record, statistics))
        record |= _examine_pixels(image, source)
        if statistics is not None:
            record["notes"] += statistics.add(image, source)
    except GraypipeError as error:
        return record | {"error": _reason(error, path)}
    if record["alpha"]:
        record["notes"].append("alpha is fully opaque and is dropped")
    return record


def bit_depth_notes(maximum: int) -> list[str]:
    """Return advice if uint16 images appear to use fewer than 16 bits.

    Parameters
    ----------
    maximum : int
        The largest value in the images.

    Returns
    -------
    list of str
        At most one note.
    """
    # An image with only 0 and 1 is a mask.
    if maximum < 2:
        return []
    for bits in SENSOR_BITS:
        if maximum < 2**bits:
            return [
                f"values up to {maximum} of 65535 look like {bits} bits: "
                f"declare bits={bits} if the device delivers {bits} bits"
            ]
    return []


def _sensor_keywords(
    record: Record, statistics: SensorStatistics | None
) -> dict[str, Any]:
    """Return the keywords of `read` that a file with the dtype of a sensor needs."""
    if statistics is None or record["dtype"] != statistics.facts.dtype:
        return {}
    return {"range": statistics.facts.range}


def _is_dicom(path: Path) -> bool:
    """Return whether a file has the DICOM signature; raise OSError if not a file."""
    # Opening a named pipe would wait for a process that writes to it.
    if path.exists() and not path.is_file():
        raise OSError(
            "expected an image file, got a folder that cannot be listed, a pipe or a "
            "device"
        )
    with path.open("rb") as file:
        start = file.read(DICOM_SIGNATURE_OFFSET + len(DICOM_SIGNATURE))
    return start[DICOM_SIGNATURE_OFFSET:] == DICOM_SIGNATURE


def _reason(error: Exception, path: Path) -> str:
    """Return the error message as one line, without the path at the start."""
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def _examine_pixels(image: NDArray[Any], source: Source) -> Record:
    """Return the source, the minimum and maximum value, and the notes about them."""
    pixels = image
    other_axes = tuple(i for i, axis in enumerate(source.layout) if axis != "C")
    if source.nodata is not None:
        pixels = _valid_pixels(image, source)
        other_axes = (0,)
    record: Record = {"source": to_record(source)}
    # The minimum of an empty array is undefined.
    if not pixels.size:
        return record | {"values": [None, None], "notes": ["all pixels are nodata"]}

    # fmin and fmax ignore NaN unless all values are NaN.
    minima = np.atleast_1d(np.fmin.reduce(pixels, axis=other_axes))
    maxima = np.atleast_1d(np.fmax.reduce(pixels, axis=other_axes))
    low = np.fmin.reduce(minima).item()
    high = np.fmax.reduce(maxima).item()
    constant_bands = []
    for band, minimum, maximum in zip(source.bands, minima, maxima, strict=True):
        if minimum == maximum and isfinite(minimum):
            constant_bands.append(band)
    constant_notes = _constant_notes(constant_bands, source.bands, low)
    return record | {
        "values": [_finite_or_none(low), _finite_or_none(high)],
        "notes": constant_notes + _range_notes(pixels, source, low, high),
    }


def _finite_or_none(value: float) -> float | None:
    """Return ``value``, or None for NaN and infinity, which JSON cannot represent."""
    if isfinite(value):
        return value
    return None


def _valid_pixels(image: NDArray[Any], source: Source) -> NDArray[Any]:
    """Return the pixels that are not nodata in any band: shape (n,) or (n, C)."""
    band_axis = source.layout.find("C")
    if band_axis < 0:
        flat: NDArray[Any] = image[~missing_pixels(image[None], source)]
        return flat
    planes = np.moveaxis(image, band_axis, 0)
    valid: NDArray[Any] = np.moveaxis(planes, 0, -1)[~missing_pixels(planes, source)]
    return valid


def _constant_notes(
    constant_bands: list[str], bands: tuple[str, ...], value: float
) -> list[str]:
    """Return a note if a band has the same value in all pixels."""
    if not constant_bands:
        return []
    if len(constant_bands) < len(bands):
        return [f"constant bands: {', '.join(constant_bands)}"]
    if len(bands) == 1:
        return [f"constant: all pixels are {value:g}"]
    return ["all bands are constant"]


def _range_notes(
    pixels: NDArray[Any], source: Source, low: float, high: float
) -> list[str]:
    """Return notes if the values do not fit the range that ``source`` implies."""
    if pixels.dtype.kind == "f":
        return _float_notes(pixels, low, high)
    if pixels.dtype == "uint16" and not source._declares_range:
        return bit_depth_notes(int(high))
    white = max(max(pair) for pair in source._pairs(pixels.dtype))
    # An image with only 0 and 1 is a mask. Other images that use less than a quarter of
    # the range probably have fewer bits than their dtype.
    if 1 < high < white / 4:
        return [f"low dynamic range: maximum {high} of {white:g}"]
    return []


def _float_notes(pixels: NDArray[Any], low: float, high: float) -> list[str]:
    """Return notes if floating values are not finite or not from 0 to 1."""
    if isnan(low):
        return ["all values are NaN"]
    notes = []
    if np.isnan(pixels).any():
        notes.append(
            "contains NaN, which propagates to the output unless nodata=float('nan') "
            "is declared"
        )
    if not (isfinite(low) and isfinite(high)):
        notes.append("contains infinite values")
    # Resampling may overshoot the range 0 to 1 slightly.
    elif low < -1 or high > 2:
        notes.append(
            f"floating values range from {low:g} to {high:g}, not from 0 to 1: "
            "declare range=(black, white)"
        )
    return notes
