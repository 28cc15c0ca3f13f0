"""Examine one image file: what it is, how it is read, and likely problems.

The pixel values are used for advice only. They never change how an image is read or
converted.
"""

from collections.abc import Sequence
from contextlib import suppress
from math import isfinite, isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import Source
from ..batch_jobs.remote import AnyPath, local_file
from ..batch_jobs.stated_plans import JobPlans, StatedPlans
from ..batch_jobs.work import ReadOptions, choose_plan, convert_image, load_image
from ..errors import GraypipeError, ReadError
from ..io import facts, read
from ..io.input_file import open_input
from ..sensor import Sensor
from ..serialization import to_record
from ..stats.accumulators import missing_pixels
from . import advice
from .image_files import has_image_suffix
from .pictures import Pictures
from .sensor_statistics import SensorStatistics

Record = dict[str, Any]

DICOM_ADVICE = (
    "read it with gp.read(path); CT needs window=, such as window=(-160, 240)"
)

LEFT_OUT = "convert leaves this file out: its name does not end like that of an image"

# A DICOM file starts with 128 arbitrary bytes and this signature (DICOM PS3.10, 7.1).
DICOM_SIGNATURE_OFFSET = 128
DICOM_SIGNATURE = b"DICM"


class Examination(NamedTuple):
    """How to examine files.

    Parameters
    ----------
    arguments : frozenset of Path or RemotePath
        The files that were passed on the command line, rather than found in a folder.
        They are treated as images regardless of their suffixes.
    read_options : ReadOptions
        How to read the files.
    plans : Plans, StatedPlans or None
        The plans, whose sources the files must match; None if nothing is declared.
    converts : bool
        Whether to convert the images as ``graypipe convert`` does with these plans.
    sensor : Sensor or None
        The sensor with whose statistics the images are compared.
    pictures : Pictures or None
        Without pictures yet: which files get a thumbnail; None for no pictures.
    """

    arguments: frozenset[AnyPath]
    read_options: ReadOptions
    plans: JobPlans | None
    converts: bool
    sensor: Sensor | None
    pictures: Pictures | None


class Examined(NamedTuple):
    """The records of a chunk of files, and what is known about all of them together."""

    records: list[Record]
    statistics: SensorStatistics | None
    pictures: Pictures | None


def examine_files(job: Examination, paths: Sequence[AnyPath]) -> Examined:
    """Examine a chunk of files.

    Parameters
    ----------
    job : Examination
        What to do.
    paths : sequence of Path or RemotePath
        The files.

    Returns
    -------
    Examined
        The records are those of `examine`.
    """
    statistics = None if job.sensor is None else SensorStatistics(job.sensor)
    pictures = None if job.pictures is None else Pictures(job.pictures.sampled)
    records = [examine(job, path, statistics, pictures) for path in paths]
    return Examined(records, statistics, pictures)


def examine(
    job: Examination,
    path: AnyPath,
    statistics: SensorStatistics | None = None,
    pictures: Pictures | None = None,
) -> Record:
    """Examine a file.

    Parameters
    ----------
    job : Examination
        How to examine it.
    path : Path or RemotePath
        The file.
    statistics : SensorStatistics, optional
        Statistics to which the image is added.
    pictures : Pictures, optional
        Pictures to which the image is added.

    Returns
    -------
    dict
        A record that can be stored as JSON:

        - ``path``: the path
        - ``kind``: "image", "DICOM", "unreadable" or "no image"
        - ``error``: why it cannot be read or converted, or None
        - ``notes``: a list of likely problems, one sentence each
        - ``options``: options of the command line that may help
        - for images, and DICOM files if pydicom is installed, the result of
          `graypipe.io.facts`
        - for images that can be read, ``source`` as `graypipe.read` returns it, and
          ``values``: the minimum and the maximum
        - for images that look like those of sensors, ``sensors``: their names
        - for images that were converted, ``output``: shape, layout and dtype
    """
    record: Record = {
        "path": str(path),
        "kind": "image",
        "error": None,
        "notes": [],
        "options": [],
    }
    is_expected = path in job.arguments or has_image_suffix(path)
    header: Record = {}
    try:
        if _is_dicom(path):
            record |= {"kind": "DICOM", "format": "DICOM"}
            # The header is not needed: pydicom may be missing, or the file have none.
            with suppress(GraypipeError):
                header = facts(local_file(path))
        else:
            header = facts(local_file(path))
    except (GraypipeError, OSError) as error:
        if isinstance(error, ReadError) and not is_expected:
            return record | {"kind": "no image"}
        record |= {"kind": "unreadable", "error": _reason(error, path)}
    record |= header
    if job.converts and not is_expected:
        record["notes"].append(LEFT_OUT)
        return record
    if job.plans is None and record["kind"] == "DICOM":
        record["notes"].append(DICOM_ADVICE)
    if job.plans is None and record["kind"] != "image":
        return record
    try:
        record |= _examine_image(job, path, header, statistics, pictures)
    except (GraypipeError, OSError) as error:
        record["error"] = _reason(error, path)
        record["options"] = advice.options_for_error(error, header)
    if record["error"] is None and record.get("alpha"):
        record["notes"].append(_alpha_note(record, job.read_options.alpha))
    return record


def _examine_image(
    job: Examination,
    path: AnyPath,
    header: Record,
    statistics: SensorStatistics | None,
    pictures: Pictures | None,
) -> Record:
    """Return what the pixels of an image add to its record.

    Raises
    ------
    GraypipeError, OSError
        If the image cannot be read, or not be converted.
    """
    output: Record = {}
    if job.plans is None:
        keywords = _sensor_keywords(header, statistics)
        image, source = read(local_file(path), **job.read_options._asdict(), **keywords)
    elif job.converts or isinstance(job.plans, StatedPlans):
        image, source, converted = convert_image(job.plans, job.read_options, path)
        output = {
            "output": {
                "shape": converted.shape,
                "layout": job.plans.target.layout,
                "dtype": converted.dtype.name,
            }
        }
    else:
        plan = choose_plan(job.plans, path)
        image, source = load_image(plan.source, job.read_options, path)
    record = _examine_pixels(image, source, is_compared=statistics is not None)
    if statistics is not None:
        record["notes"] += statistics.add(image, source)
    if pictures is not None:
        pictures.add(path, image, source)
    return record | output


def _alpha_note(record: Record, policy: str) -> str:
    """Return what happened to the alpha of an image that was read."""
    if len(record["source"]["bands"]) > record["bands"]:
        return "alpha is read as a band"
    if policy == "error":
        return "alpha is fully opaque and is dropped"
    return f"alpha is dropped if it is fully opaque, else --alpha {policy} applies"


def _sensor_keywords(
    record: Record, statistics: SensorStatistics | None
) -> dict[str, Any]:
    """Return the keywords of `read` that a file with the dtype of a sensor needs."""
    if statistics is None or record.get("dtype") != statistics.facts.dtype:
        return {}
    return {"range": statistics.facts.range}


def _is_dicom(path: AnyPath) -> bool:
    """Return whether a file has the DICOM signature; raise OSError if not a file."""
    # Opening a named pipe would wait for a process that writes to it.
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise OSError(
            "expected an image file, got a folder that cannot be listed, a pipe or a "
            "device"
        )
    with open_input(local_file(path)) as file:
        start = file.read(DICOM_SIGNATURE_OFFSET + len(DICOM_SIGNATURE))
    return start[DICOM_SIGNATURE_OFFSET:] == DICOM_SIGNATURE


def _reason(error: Exception, path: AnyPath) -> str:
    """Return the error message as one line, without the path at the start."""
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def _examine_pixels(image: NDArray[Any], source: Source, is_compared: bool) -> Record:
    """Return the source, the minimum and maximum value, and the notes about them.

    Parameters
    ----------
    image : ndarray
        The image.
    source : Source
        Its source.
    is_compared : bool
        Whether the image is compared with those of a sensor, so that the sensor need
        not be recognised.
    """
    pixels = image
    other_axes = tuple(i for i, axis in enumerate(source.layout) if axis != "C")
    if source.nodata is not None:
        pixels = _valid_pixels(image, source)
        other_axes = (0,)
    record: Record = {"source": to_record(source), "notes": [], "options": []}
    # The minimum of an empty array is undefined.
    if not pixels.size:
        return record | {"values": [None, None], "notes": ["all pixels are nodata"]}

    # fmin and fmax ignore NaN unless all values are NaN.
    minima = np.atleast_1d(np.fmin.reduce(pixels, axis=other_axes))
    maxima = np.atleast_1d(np.fmax.reduce(pixels, axis=other_axes))
    low = np.fmin.reduce(minima).item()
    high = np.fmax.reduce(maxima).item()
    record["values"] = [_finite_or_none(low), _finite_or_none(high)]
    constant_bands = []
    for band, minimum, maximum in zip(source.bands, minima, maxima, strict=True):
        if minimum == maximum and isfinite(minimum):
            constant_bands.append(band)
    record["notes"] += _constant_notes(constant_bands, source.bands, low)
    sensors = []
    if source.sensor is None and not (source._declares_range or is_compared):
        sensors = advice.likely_sensors(source.bands, image.dtype.name, pixels)
    if sensors:
        return _with_sensors(record, sensors, source, image.dtype.name)
    notes, options = _range_notes(pixels, source, low, high)
    record["notes"] += notes
    record["options"] += options
    return record


def _with_sensors(
    record: Record, sensors: list[str], source: Source, dtype: str
) -> Record:
    """Add the sensors from which an image may come to its record."""
    record["sensors"] = sensors
    record["notes"].append(
        f"{len(source.bands)} bands of {dtype} look like {' or '.join(sensors)}: if "
        "the file comes from there, declare the sensor"
    )
    record["options"] += advice.sensor_options(sensors, source.bands)
    return record


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
) -> tuple[list[str], list[str]]:
    """Return notes and options if the values do not fit the range of ``source``."""
    if pixels.dtype.kind == "f":
        return _float_notes(pixels, source, low, high)
    if pixels.dtype == "uint16" and not source._declares_range:
        bits = advice.probable_bits(int(high))
        if bits is None:
            return [], []
        return [advice.bit_depth_note(int(high), bits)], advice.source_option(
            source.bands, str(bits)
        )
    white = max(max(pair) for pair in source._pairs(pixels.dtype))
    # An image with only 0 and 1 is a mask. Other images that use less than a quarter of
    # the range probably have fewer bits than their dtype.
    if 1 < high < white / 4:
        return [f"low dynamic range: maximum {high} of {white:g}"], []
    return [], []


def _float_notes(
    pixels: NDArray[Any], source: Source, low: float, high: float
) -> tuple[list[str], list[str]]:
    """Return notes and options if floats are not finite or not from 0 to 1."""
    if isnan(low):
        return ["all values are NaN"], []
    notes = []
    options = []
    if np.isnan(pixels).any():
        notes.append(
            "contains NaN, which propagates to the output unless nodata=float('nan') "
            "is declared"
        )
        options += advice.source_option(source.bands, "nodata=nan")
    if not (isfinite(low) and isfinite(high)):
        notes.append("contains infinite values")
    # Resampling may overshoot the range 0 to 1 slightly.
    elif (low < -1 or high > 2) and not source._declares_range:
        notes.append(
            f"floating values range from {low:g} to {high:g}, not from 0 to 1: "
            "declare range=(black, white)"
        )
        options += advice.source_option(source.bands, "BLACK..WHITE")
    return notes, options
