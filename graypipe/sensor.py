"""Sensors: band names, aliases and stored values of common products."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from .bands import format_bands, parse_bands
from .errors import ChannelError, RangeError
from .messages import describe_value, did_you_mean, plain_name
from .sensor_definitions import SENSORS
from .validation import is_sequence_of_pairs

# (black, white) in stored values
Pair = tuple[float, float]

# Most words of a name in a description, as in "red edge 1" and "lwir_high_gain".
MAX_WORDS = 3


@dataclass(frozen=True)
class Sensor:
    """Facts about the images of a sensor, as its publisher delivers them.

    Get one with `sensor`. Instances are immutable, hashable and picklable.

    Parameters
    ----------
    name : str
        Name of the sensor, as `sensors` lists it.
    bands : tuple of str
        Official names of the bands, in the order of the files.
    aliases : tuple of tuple of str
        Other names of each band, the common name of STAC first. An alias belongs to one
        band of the sensor.
    wavelengths : tuple of float or None
        Central wavelength of each band in nm; None if it has none or it is unknown.
    range : pair of float, one pair per band, or None
        Stored values of black and white. For surface and top-of-atmosphere reflectance,
        these are the stored values of a reflectance of 0 and of 1. None if the dtype of
        the file decides.
    nodata : float or None
        Stored value that marks missing data.
    dtype : str or None
        Dtype of the files; None if it varies.
    statistics : str or None
        Name of the `preset` that holds the mean and std which were published for such
        images, or None. `BandStats.check` compares with them.

    Examples
    --------
    >>> import graypipe as gp
    >>> landsat = gp.sensor("landsat-8-c2-l2")
    >>> landsat.bands[3], landsat.aliases[3], landsat.wavelengths[3]
    ('SR_B4', ('red', 'B4', 'B04', 'R'), 650.0)
    """

    name: str
    bands: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    wavelengths: tuple[float | None, ...]
    range: Pair | tuple[Pair, ...] | None
    nodata: float | None
    dtype: str | None
    statistics: str | None

    def band(self, name: str) -> str:
        """Return the official name of a band.

        Parameters
        ----------
        name : str
            The official name or an alias. Case, spaces, hyphens and underscores do not
            matter.

        Returns
        -------
        str

        Raises
        ------
        ChannelError
            If the sensor has no such band.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.sensor("sentinel-2-l2a").band("red")
        'B04'
        """
        found = self._find(name)
        if found is not None:
            return found
        known = [*self.bands, *(alias for names in self.aliases for alias in names)]
        raise ChannelError(
            f"the sensor {self.name!r} has no band {describe_value(name)}"
            f"{did_you_mean(name, known)}: it has {format_bands(self.bands)}, and the "
            "aliases in sensor.aliases"
        )

    def _find(self, name: object) -> str | None:
        """Return the official name of a band, or None if the sensor has none."""
        if not isinstance(name, str):
            return None
        if name in self.bands:
            return name
        return self._bands_by_name.get(plain_name(name))

    def _find_all(self, description: object) -> tuple[str, ...]:
        """Return the official names of the bands that a description mentions.

        "B02, reflectance" and "Sentinel-2 B02 (blue)" mention only B02.
        """
        if not isinstance(description, str):
            return ()
        whole = self._find(description)
        if whole is not None:
            return (whole,)
        words = _words(description)
        found = []
        start = 0
        while start < len(words):
            # The longest name counts: "nir narrow" does not mention "nir".
            for end in range(min(start + MAX_WORDS, len(words)), start, -1):
                band = self._find(_join(words[start:end]))
                if band is not None:
                    found.append(band)
                    start = end
                    break
            else:
                start += 1
        return tuple(dict.fromkeys(found))

    @cached_property
    def _bands_by_name(self) -> dict[str, str]:
        """The official name of the band of each plain name."""
        names = {}
        for band, aliases in zip(self.bands, self.aliases, strict=True):
            for each in (band, *aliases):
                names[plain_name(each)] = band
        return names

    def _common_name(self, band: str) -> str:
        """Return the common name of a band, or the official one if it has none."""
        aliases = self.aliases[self.bands.index(band)]
        if not aliases or band.islower():  # "red" needs no other name
            return band
        return aliases[0]


def _words(description: str) -> list[str]:
    """Return the words of a description: everything between other characters."""
    # Otherwise "red edge" and "infra-red" mention red.
    text = re.sub(r"(?i)(red)[\W_]+(?=edge)|(infra)[\W_]+(?=red)", r"\1\2", description)
    return re.findall(r"[^\W_]+", text)


def _join(words: Sequence[str]) -> str | None:
    """Return words as one name, or None if this joins two numbers."""
    # "B1 0.443 um" does not mention B10.
    for first, second in pairwise(words):
        if first[-1].isdigit() and second[0].isdigit():
            return None
    return " ".join(words)


def describe_bands(
    facts: Sensor, descriptions: Sequence[object]
) -> tuple[str | None, ...]:
    """Return the band of a sensor that each description mentions.

    Returns
    -------
    tuple of str or None
        Official names. None for a description that mentions no band or several, or the
        same one as another description.
    """
    found = [facts._find_all(description) for description in descriptions]
    names: list[str | None] = []
    for bands in found:
        is_distinct = len(bands) == 1 and found.count(bands) == 1
        names.append(bands[0] if is_distinct else None)
    return tuple(names)


def bands_from_descriptions(
    facts: Sensor,
    descriptions: Sequence[object],
    indices: Sequence[int] | None = None,
) -> tuple[str, ...] | None:
    """Return the bands of a file whose descriptions mention those of a sensor.

    Parameters
    ----------
    facts : Sensor
    descriptions : sequence
        The description of each band of the file; empty or None if it has none.
    indices : sequence of int, optional
        The bands that are read; all if None.

    Returns
    -------
    tuple of str or None
        Official names, in stored order; None if no description mentions a band.

    Raises
    ------
    ChannelError
        If only some descriptions mention a band, if one mentions several, or if two
        mention the same.
    """
    if not any(map(facts._find_all, descriptions)):
        return None
    if indices is None:
        indices = range(len(descriptions))
    chosen = [descriptions[index] for index in indices]
    names = describe_bands(facts, chosen)
    bands = tuple(name for name in names if name is not None)
    if len(bands) == len(names):
        return bands
    position = names.index(None)
    mentioned = facts._find_all(chosen[position])
    problem = f"mentions no band of the sensor {facts.name!r}, but others do"
    if len(mentioned) > 1:
        problem = f"mentions several bands of {facts.name!r}: {', '.join(mentioned)}"
    elif mentioned:
        problem = f"mentions {mentioned[0]} of {facts.name!r}, as another one does"
    text = describe_value(chosen[position] or "")
    line = ", ".join(repr(name or "?") for name in names)
    raise ChannelError(
        f"the description {text} of band {indices[position] + 1} {problem}: name all "
        f"bands in stored order, bands=({line}), or omit sensor= if some are not from "
        "this sensor, and choose among them with select= of gp.read"
    )


def sensor(name: str) -> Sensor:
    """Return the facts about a sensor.

    Parameters
    ----------
    name : str
        One of `sensors`, such as ``"sentinel-2-l2a"``, ``"landsat-8-c2-l2"`` or
        ``"naip"``.

    Returns
    -------
    Sensor

    Raises
    ------
    ChannelError
        If the sensor is unknown.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.sensor("naip").bands
    ('red', 'green', 'blue', 'nir')
    >>> gp.sensor("sentinel-2-l2a").range  # reflectance 0 and 1, since baseline 04.00
    (1000, 11000)
    """
    if not isinstance(name, str) or name not in SENSORS:
        raise ChannelError(
            "expected the name of a sensor, which gp.sensors() lists, such as "
            f"'sentinel-2-l2a', got {describe_value(name)}{_similar_sensors(name)}"
        )
    return _sensor(name)


@lru_cache(maxsize=len(SENSORS))
def _sensor(name: str) -> Sensor:
    """Return a known sensor; plans look it up several times."""
    facts = SENSORS[name]
    bands, wavelengths, aliases = zip(*facts["bands"], strict=True)
    return Sensor(
        name=name,
        bands=bands,
        aliases=aliases,
        wavelengths=tuple(
            None if length is None else float(length) for length in wavelengths
        ),
        range=facts.get("range"),
        nodata=facts.get("nodata"),
        dtype=facts.get("dtype"),
        statistics=facts.get("statistics"),
    )


def _similar_sensors(name: object) -> str:
    """Return " (did you mean ...?)" with the sensors that ``name`` may mean, or ""."""
    plain = plain_name(name) if isinstance(name, str) else ""
    matches = [known for known in SENSORS if plain in plain_name(known)]
    is_exact = plain in map(plain_name, SENSORS)
    if 1 < len(matches) < len(SENSORS) and not is_exact:
        return f" (did you mean one of {', '.join(map(repr, matches))}?)"
    return did_you_mean(name, SENSORS)


def sensors() -> tuple[str, ...]:
    """Return the names that `sensor` takes, sorted.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import graypipe as gp
    >>> [name for name in gp.sensors() if name.startswith("hls")]
    ['hls-l30', 'hls-s30']
    """
    return tuple(sorted(SENSORS))


def source_keywords(
    name: str, bands: str | Iterable[str] | None, keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keywords of the `Source` of images of a sensor.

    Parameters
    ----------
    name : str
        Name of the sensor.
    bands : str, iterable of str or None
        The bands of the images, in order; all bands of the sensor if None. Aliases are
        replaced by official names.
    keywords : mapping
        Keywords that take precedence over the sensor.

    Raises
    ------
    ChannelError
        If the sensor or a band is unknown.
    """
    facts = sensor(name)
    names = facts.bands
    if bands is not None:
        names = tuple(facts.band(band) for band in parse_bands(bands))
    arguments: dict[str, Any] = {"bands": names, "sensor": name}
    if facts.range is not None and keywords.get("bits") is None:
        arguments["range"] = facts.range
        if is_sequence_of_pairs(facts.range):
            positions = [facts.bands.index(band) for band in names]
            arguments["range"] = [facts.range[position] for position in positions]
    if facts.nodata is not None:
        arguments["nodata"] = facts.nodata
    return {**arguments, **keywords}


def check_source(name: str, bands: tuple[str, ...], declares_range: bool) -> None:
    """Raise unless a source with these bands can belong to a sensor.

    Raises
    ------
    ChannelError
        If the sensor is unknown, or a band is not one of its official names.
    RangeError
        If the sensor has a range and the source declares none.
    """
    facts = sensor(name)
    strangers = [band for band in bands if band not in facts.bands]
    if strangers:
        raise ChannelError(
            f"the sensor {name!r} has no band named {describe_value(strangers[0])}: "
            "gp.Source.from_sensor takes aliases; a source with other bands has "
            "sensor=None"
        )
    if facts.range is not None and not declares_range:
        raise RangeError(
            f"a source of the sensor {name!r} declares the stored values of black and "
            f"white: gp.Source.from_sensor({name!r}) has those of its files; declare "
            "range= for values that were rescaled, such as range=(0, 1)"
        )


def resolve_aliases(weights: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a ``via`` mapping with the official names of the input bands of a sensor.

    Parameters
    ----------
    weights : mapping
        The argument ``via`` of `plan`.
    name : str
        Name of the sensor of the source.

    Raises
    ------
    ChannelError
        If an output band names an input band twice, as "red" and as "B04".
    """
    facts = sensor(name)
    return {
        output: _official_names(terms, facts, output)
        for output, terms in weights.items()
    }


def _official_names(terms: Any, facts: Sensor, output: str) -> Any:
    """Return the input of an output band with the official names of a sensor."""
    if isinstance(terms, str):
        return facts._find(terms) or terms
    if not isinstance(terms, Mapping):
        return terms  # None, or a mistake that `mix` reports
    renamed = {facts._find(band) or band: factor for band, factor in terms.items()}
    if len(renamed) < len(terms):
        raise ChannelError(
            f"output band {describe_value(output)} names an input band of "
            f"{facts.name!r} twice: name each band once, by one of its names"
        )
    return renamed
