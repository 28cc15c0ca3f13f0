"""The tables of the site show what the package and the result files contain."""

import json

import numpy as np
import pytest
from documentation.code_blocks import ROOT
from markdown_tables import rows_of

import graypipe as gp
from docs_site.tables import TABLES
from graypipe.preset_definitions import PRESETS, REFERENCES

RESULTS = ROOT / "benchmarks" / "results"


def test_every_preset_has_a_reference():
    assert REFERENCES.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", gp.presets())
def test_table_of_presets_has_the_numbers(name):
    (row,) = [row for row in rows_of(TABLES["presets"]()) if row[0] == f"`{name}`"]
    target = gp.preset(name)
    assert row[1].replace("`", "").split(", ") == list(target.bands)
    assert row[2] == f"{target.layout}, {target.dtype}"
    for cell, expected in ((row[4], target.mean), (row[5], target.std)):
        numbers = [float(number) for number in cell.split(",")]
        np.testing.assert_allclose(numbers, np.ravel(expected), rtol=1e-5)


@pytest.mark.parametrize("name", gp.sensors())
def test_tables_of_sensors_have_every_band(name):
    sensor = gp.sensor(name)
    sections = TABLES["sensors"]().split("\n### ")
    row = next(row for row in rows_of(sections[0]) if row[0] == f"`{name}`")
    assert row[2] == ("" if sensor.nodata is None else f"{sensor.nodata:g}")
    (section,) = [
        each
        for each in sections[1:]
        if name in each.splitlines()[0].removeprefix("Bands of ").split(", ")
    ]
    rows = rows_of(section)[1:]
    assert [row[0] for row in rows] == [f"`{band}`" for band in sensor.bands]
    wavelengths = [float(row[2]) if row[2].strip("| ") else None for row in rows]
    assert wavelengths == list(sensor.wavelengths)
    for row, aliases in zip(rows, sensor.aliases, strict=True):
        assert row[1].replace("`", "") == ", ".join(aliases)


def test_benchmarks_show_every_case_and_contender():
    rows = rows_of(TABLES["benchmarks"]())
    shown = {row[0] for row in rows}
    heads = [set(row) for row in rows if row[0] == "case"]
    for path in RESULTS.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "cases" not in record or path.stem == "zero_copy":
            continue  # in other pages
        for case in record["cases"]:
            assert case["name"] in shown
            assert any(case["contenders"].keys() <= head for head in heads)


def test_benchmarks_show_losses_as_ratios_below_1():
    losses = [row for row in rows_of(TABLES["benchmarks"]()) if row[-1].startswith("0")]
    assert len(losses) > 20
