"""Tables of the site that are made when it is built, so that they are never stale.

A page says where its table belongs with ``<!-- table: presets -->`` and
``<!-- end of table -->``. The site shows the table in place of what is in between.
"""

import re
from collections.abc import Iterable
from typing import Any

import graypipe as gp
from benchmarks import provenance, results
from benchmarks.groups import ELSEWHERE, GROUPS
from benchmarks.writing import of_gauge, ratio, table
from graypipe.preset_definitions import REFERENCES

Case = dict[str, Any]

# Titles of the groups of benchmarks. The zero-copy study has a page of its own.
TITLES = {
    "expand": "Repeat one gray band three times",
    "overhead": "Small images",
    "normalise": "Gray to normalised",
    "mix": "Multi-band input",
    "strided": "Crops, flips and Fortran order",
    "torchvision": "torchvision",
    "loader": "DataLoader of torch",
    "albumentations": "albumentations",
    "albumentationsx": "AlbumentationsX",
    "tf_data": "tf.data",
    "keras_layer": "Layer of a Keras model",
    "folded": "A plan folded into the first convolution",
    "files": "Files",
    "convert": "A folder of files",
    "jobs": "Many files",
    "views": "Views",
    "imports": "Import",
    "peaks": "Memory of a call beyond its output",
    "first_call": "The first call of a process",
}


def presets() -> str:
    """Return the table of all presets."""
    rows = []
    for name in gp.presets():
        target = gp.preset(name)
        rows.append(
            [
                f"`{name}`",
                _codes(target.bands),
                f"{target.layout}, {target.dtype}",
                _pair(target.range),
                _per_band(target.mean),
                _per_band(target.std),
                REFERENCES[name].replace("*", r"\*").replace("_", r"\_"),
            ]
        )
    head = ("preset", "bands", "layout, dtype", "range", "mean", "std", "numbers from")
    return _wide(table(head, rows, text=len(head)))


def sensors() -> str:
    """Return a table of all sensors, and one of the bands of each."""
    head = ("sensor", "black and white", "nodata", "dtype", "published statistics")
    rows, sections = [], []
    names_of_bands: dict[Any, list[str]] = {}
    for name in gp.sensors():
        sensor = gp.sensor(name)
        statistics = f"`{sensor.statistics}`" if sensor.statistics else ""
        nodata = "" if sensor.nodata is None else f"{sensor.nodata:g}"
        row = [f"`{name}`", _range(sensor), nodata, sensor.dtype or "", statistics]
        rows.append(row)
        bands = (sensor.bands, sensor.aliases, sensor.wavelengths)
        names_of_bands.setdefault(bands, []).append(name)
    for bands, names in names_of_bands.items():
        lines = []
        for band, aliases, wavelength in zip(*bands, strict=True):
            length = "" if wavelength is None else f"{wavelength:g}"
            lines.append([f"`{band}`", _codes(aliases), length])
        heading = f"### Bands of {', '.join(names)}"
        columns = table(("band", "other names", "wavelength in nm"), lines, text=2)
        sections.append(f"{heading}\n\n{columns}")
    return "\n\n".join([table(head, rows, text=len(head)), *sections])


def benchmarks() -> str:
    """Return all cases and contenders of the result files, a section for each group."""
    records = results.read(results.RECORD, (*GROUPS, *ELSEWHERE))
    records.pop("zero_copy", None)
    sections = [provenance.machines(records.values())]
    for group, record in records.items():
        lines = [f"## {TITLES[group]}", f"Measured on {record['date']}."]
        for cases in _with_equal_contenders(record["cases"]):
            lines += [_contenders(cases), *_left_out(cases)]
        sections.append("\n\n".join(lines))
    return "\n\n".join(sections)


TABLES = {"presets": presets, "sensors": sensors, "benchmarks": benchmarks}


def _wide(lines: str) -> str:
    """Return a table whose first column stays when the others scroll."""
    return f'<div class="wide" markdown>\n\n{lines}\n\n</div>'


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g} to {pair[1]:g}"


def _per_band(values: float | tuple[float, ...]) -> str:
    if isinstance(values, tuple):
        return ", ".join(f"{value:.6g}" for value in values)
    return f"{values:.6g}"


def _range(sensor: gp.Sensor) -> str:
    """Return black and white of all bands, or of the bands that share them."""
    if sensor.range is None:
        return "of the dtype"
    if not isinstance(sensor.range[0], tuple):
        return _pair(sensor.range)
    bands: dict[Any, list[str]] = {}
    for band, pair in zip(sensor.bands, sensor.range, strict=True):
        bands.setdefault(pair, []).append(band)
    most = max(bands, key=lambda pair: len(bands[pair]))
    texts = [f"{most[0]:.1f} to {most[1]:.1f}"]
    for pair, names in bands.items():
        if pair != most:
            texts.append(f"{_codes(names)} {_pair(pair)}")
    return ", ".join(texts)


def _with_equal_contenders(cases: list[Case]) -> list[list[Case]]:
    """Return the cases in lists of those that one table shows."""
    groups: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(tuple(case["contenders"]), []).append(case)
    return list(groups.values())


def _contenders(cases: list[Case]) -> str:
    """Return a table of cases by contenders, with the best of each case in bold."""
    contenders = list(cases[0]["contenders"])
    has_peers = any(_ratio(case) for case in cases)
    rows = []
    for case in cases:
        figures = case["contenders"]
        best = min(figure["median"] for figure in figures.values())
        row = [case["name"]]
        for name in contenders:
            median = figures[name]["median"]
            text = of_gauge(median, case["gauge"])
            row.append(f"**{text}**" if median == best else text)
        rows.append([*row, _ratio(case)] if has_peers else row)
    head = ["case", *contenders]
    if has_peers:
        head.append("fastest peer / graypipe")
    return _wide(table(head, rows))


def _ratio(case: Case) -> str:
    """Return the figure of the fastest peer over that of graypipe, or ""."""
    figures = case["contenders"].values()
    peers = [figure["median"] for figure in figures if figure["kind"] == "peer"]
    own = [figure["median"] for figure in figures if figure["kind"] == "ours"]
    return ratio(min(peers) / min(own)) if peers and min(own) else ""


def _left_out(cases: list[Case]) -> list[str]:
    """Return a sentence with the peers that could not take part, if there are any."""
    reasons: dict[str, list[str]] = {}
    for case in cases:
        for name, reason in case["left_out"].items():
            # Without the place and the tensor for which TensorFlow raised the error
            message = re.sub(r"{{.*?}} |, DataType.*", "", reason)
            names = reasons.setdefault(message, [])
            if name not in names:
                names.append(name)
    if not reasons:
        return []
    texts = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return [f"Left out: {'; '.join(texts)}."]
