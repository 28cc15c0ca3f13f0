"""What to type next: options for files that cannot be read, or that look wrong.

Nothing here changes how a file is read. Each piece of advice is an option that the user
may type, such as ``--source gray:12``.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import number_bands
from ..channel_map import default_map
from ..errors import ReadError
from ..sensor import Sensor, describe_bands, sensor, sensors
from ..source import Source
from ..target import preset
from .source_syntax import BAND_NAME, parse_source, via_entries

# Common bit depths of sensors. Cameras and microscopes store such images in 16-bit
# files.
SENSOR_BITS = (8, 10, 12, 14)

# Most bands that are written out in an option, and most sensors that are named.
MAX_BANDS = 16
MAX_SENSORS = 4

# Most kinds of images for which sources are suggested, and the target beside them.
MAX_SOURCES = 4
EXAMPLE_TARGET = "imagenet"

# Sentinel-2 is the only sensor with this many bands of 16 bits, so that its files are
# recognised even if they do not name their bands.
MIN_UNNAMED_BANDS = 12

# The median of reflectance, in units of 10,000, is below 2, also over snow and clouds.
MAX_MEDIAN_REFLECTANCE = 20_000

# Share of the pixels that may be darker than black: atmospheric correction overshoots.
MAX_SHARE_BELOW_BLACK = 0.01


@dataclass
class ImageKind:
    """What is known about the readable images with the same bands and dtype.

    Parameters
    ----------
    sensor : str or None
        The sensor from which they may come.
    maximum : int
        The largest value of uint16 images whose range is not known; 0 for others.
    """

    sensor: str | None = None
    maximum: int = 0


def format_bands(bands: Sequence[str]) -> str | None:
    """Return bands as ``--source`` takes them, or None if it cannot take them."""
    if len(bands) > MAX_BANDS:
        return None
    for band in bands:
        if not re.fullmatch(BAND_NAME, band) or not band.isprintable():
            return None
    if all(re.fullmatch("[A-Z]", band) for band in bands):
        return "".join(bands)
    if len(bands) > 1:
        return ",".join(bands)
    # Without the comma, "NIR" would be one band per letter.
    return bands[0] if bands[0].islower() else f"{bands[0]},"


def source_option(bands: Sequence[str], *parts: str) -> list[str]:
    """Return ``--source`` with bands and what follows them; empty if not possible."""
    text = format_bands(bands)
    if text is None:
        return []
    return [f"--source {shlex.quote(':'.join((text, *parts)))}"]


def options_for_error(error: Exception, header: dict[str, Any]) -> list[str]:
    """Return options with which a file that cannot be read may be read.

    Parameters
    ----------
    error : Exception
        The error of `graypipe.read`, which names the keywords that may be missing.
    header : dict
        The result of `graypipe.io.facts`, or an empty dict.
    """
    message = str(error)
    options = []
    for name, value in re.findall(r"\b(alpha|orientation)='(\w+)'", message):
        options.append(f"--{name} {value}")
    if isinstance(error, ReadError) and "frame=" in message:
        options += _frame_options(message, header)
    if "layout=" in message:
        options += _layout_options(message, header)
    if "declare range=" in message:
        bands = _numbered_bands(header.get("bands") or 1)
        options += source_option(bands, "BLACK..WHITE")
    options += re.findall(r"--max-pixels \d+", message)
    return list(dict.fromkeys(options))


def _frame_options(message: str, header: dict[str, Any]) -> list[str]:
    """Return the options that choose a frame, or the array of a .npz file."""
    keys = re.search(r"the arrays \['([^',]+)'", message)
    if keys:
        return [f"--frame {shlex.quote(keys[1])}"]
    if header.get("frames", 1) > 1:
        return ["--frame 0", "--frame all"]
    return []


def _layout_options(message: str, header: dict[str, Any]) -> list[str]:
    """Return the options that declare the axes of an array."""
    options = []
    shape = header.get("shape", ())
    for layout in re.findall(r"layout='(\w+)'", message):
        if len(layout) != len(shape):
            continue
        count = 1
        if "C" in layout:
            count = shape[layout.index("C")]
        options += source_option(_numbered_bands(count), f"layout={layout}")
    return options


def _numbered_bands(count: int) -> tuple[str, ...]:
    """Return names for bands that have none; a single band is gray."""
    if count == 1:
        return ("gray",)
    return number_bands(range(1, count + 1))


def probable_bits(maximum: int) -> int | None:
    """Return the bits that uint16 images appear to use, or None if they may use all.

    Parameters
    ----------
    maximum : int
        The largest value in the images.
    """
    # An image with only 0 and 1 is a mask.
    if maximum < 2:
        return None
    return next((bits for bits in SENSOR_BITS if maximum < 2**bits), None)


def bit_depth_note(maximum: int, bits: int) -> str:
    """Return the note about uint16 images that appear to use fewer than 16 bits."""
    return (
        f"values up to {maximum} of 65535 look like {bits} bits: declare bits={bits} "
        f"if the device delivers {bits} bits"
    )


def likely_sensors(
    bands: tuple[str, ...],
    dtype: str,
    values: NDArray[Any] | None = None,
    *,
    complete: bool = False,
) -> list[str]:
    """Return the sensors from which an image may come.

    Parameters
    ----------
    bands : tuple of str
        The bands of the image: names of bands of a sensor that contain a number, such
        as "B04", or at least 12 bands without names.
    dtype : str
        The dtype of the image.
    values : ndarray, optional
        The valid pixels. If given, they must have the scale of the sensor.
    complete : bool, default False
        Whether the image must have all bands of the sensor.

    Returns
    -------
    list of str
        The names of at most four sensors. First come those with exactly these bands,
        then those whose official names are those of the bands. Empty if none fits.
    """
    candidates = [sensor(name) for name in sensors()]
    fitting = [
        facts
        for facts in candidates
        if facts.dtype == dtype and _has_bands(facts, bands)
    ]
    if complete:
        fitting = [facts for facts in fitting if len(facts.bands) == len(bands)]
    if values is not None:
        fitting = _with_fitting_values(fitting, values)
    fitting.sort(
        key=lambda facts: (
            set(bands) != set(facts.bands),
            not set(bands) <= set(facts.bands),
        )
    )
    return [facts.name for facts in fitting[:MAX_SENSORS]]


def _has_bands(facts: Sensor, bands: tuple[str, ...]) -> bool:
    """Return whether the bands are recognisably those of a sensor."""
    if bands == number_bands(range(1, len(bands) + 1)):
        return MIN_UNNAMED_BANDS <= len(bands) == len(facts.bands)
    # Names without a number, such as R or red, do not tell sensors from other cameras.
    if len(bands) < 2 or not all(re.search(r"\d", band) for band in bands):
        return False
    return all(facts._find(band) is not None for band in bands)


def _with_fitting_values(
    candidates: list[Sensor], values: NDArray[Any]
) -> list[Sensor]:
    """Return the sensors whose files have such values.

    Of two sensors with the same bands, such as those before and since an offset was
    introduced, the one with the highest black that fits is returned.
    """
    if not values.size:
        return []
    is_reflectance = values.max() > 255 and np.median(values) < MAX_MEDIAN_REFLECTANCE
    if not is_reflectance:
        return []
    highest_black: dict[tuple[str, ...], float] = {}
    for facts in candidates:
        black = _black(facts)
        if np.mean(values < 0.9 * black) <= MAX_SHARE_BELOW_BLACK:
            previous = highest_black.get(facts.bands, black)
            highest_black[facts.bands] = max(previous, black)
    return [
        facts for facts in candidates if highest_black.get(facts.bands) == _black(facts)
    ]


def _black(facts: Sensor) -> float:
    """Return the lowest stored value of black of a sensor."""
    if facts.range is None:
        return 0.0
    return float(np.array(facts.range)[..., 0].min())


def sensor_options(names: Sequence[str], bands: tuple[str, ...]) -> Iterator[str]:
    """Yield the options for images that look like those of sensors.

    Parameters
    ----------
    names : sequence of str
        The result of `likely_sensors`.
    bands : tuple of str
        The bands of the images.
    """
    for name in names:
        yield f"--source {shlex.quote(_sensor_source(name, bands))}"
        if sensor(name).statistics is not None:
            yield f"--sensor {name}"


def _sensor_source(name: str, bands: tuple[str, ...]) -> str:
    """Return the source of images of a sensor, as ``--source`` takes it."""
    facts = sensor(name)
    described = describe_bands(facts, bands)
    names = tuple(known or band for known, band in zip(described, bands, strict=True))
    if names in (facts.bands, number_bands(range(1, len(bands) + 1))):
        return name
    return f"{name}:bands={','.join(names)}"


def next_command(
    words: Sequence[str],
    kinds: Mapping[tuple[tuple[str, ...], str], ImageKind],
    options: Mapping[str, str],
    declared: Sequence[Source],
    excluded: Sequence[str] = (),
) -> str:
    """Return the command that previews a conversion of the images.

    If nothing says which bands to convert, it is a sentence that says what to add. It
    is empty if there is nothing to suggest.

    Parameters
    ----------
    words : sequence of str
        The paths and options that the user typed.
    kinds : mapping
        The kinds of images, by bands and dtype.
    options : mapping
        The first option that helps with an error, by the name of the option.
    declared : sequence of Source
        The sources in the words; if there are any, no others are suggested.
    excluded : sequence of str
        Patterns of files that the suggested sources do not describe.
    """
    typed = f"graypipe inspect {shlex.join(words)}"
    command = [typed]
    command += [options[name] for name in options if name != "--source"]
    if declared:
        if kinds:
            command.append(f"--target {EXAMPLE_TARGET}")
        # Of several sources, each has its map behind it.
        if kinds and len(declared) == 1:
            via = _suggest_via(declared[0])
            if any(map(_is_incomplete, via)):
                return f"add {_options_to_complete()}"
            command += via
        return " ".join(command)
    sources = _suggest_sources(kinds)
    for source, following in pairwise(sources):
        if _is_incomplete(following):
            return f"add {source}, behind it {_options_to_complete()}"
    if not kinds and "--source" in options:
        command.append(options["--source"])
    if sources:
        command += [f"--exclude {shlex.quote(pattern)}" for pattern in excluded]
        command += [*sources, f"--target {EXAMPLE_TARGET}"]
    if command == [typed]:
        return ""
    return " ".join(command)


def _suggest_via(source: Source) -> list[str]:
    """Return a channel map to the example target; empty if none is needed."""
    target = preset(EXAMPLE_TARGET)
    if default_map(source.bands, target.bands) is not None:
        return []
    return [f"--via {via_entries(source, target)}"]


def _options_to_complete() -> str:
    """Return what to add if it is unknown which bands the example target gets."""
    bands = ", ".join(preset(EXAMPLE_TARGET).bands)
    return f"--via with a band for each of {bands}, and --target {EXAMPLE_TARGET}"


def _is_incomplete(option: str) -> bool:
    """Return whether an option is a map with unknown inputs."""
    return option.startswith("--via") and "=..." in option


def _suggest_sources(
    kinds: Mapping[tuple[tuple[str, ...], str], ImageKind],
) -> list[str]:
    """Return a source for each kind of images; empty if there is none for one kind."""
    if len(kinds) > MAX_SOURCES:
        return []
    # Files with and without names may have the same source, which is declared once.
    sources: dict[tuple[str, str], int] = {}
    for (bands, dtype), kind in kinds.items():
        text = format_bands(bands)
        if text is None:
            return []
        bits = probable_bits(kind.maximum)
        if kind.sensor is not None:
            text = _sensor_source(kind.sensor, bands)
        elif bits is not None:
            text += f":{bits}"
        sources[text, dtype] = len(bands)
    counts = list(sources.values())
    # Plans are chosen by the number of bands and the dtype.
    if len({(count, dtype) for (_, dtype), count in sources.items()}) < len(counts):
        return []
    options = []
    for (text, dtype), count in sources.items():
        declared = text
        if counts.count(count) > 1:
            declared += f":dtype={dtype}"
        options.append(f"--source {shlex.quote(declared)}")
        options += _suggest_via(parse_source(declared))
    return options
