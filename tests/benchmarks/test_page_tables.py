"""Tables of measured figures in pages that are written by hand."""

import json
from pathlib import Path

import pytest
from markdown_tables import rows_of

from benchmarks import large_folders, page_tables, results

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", page_tables.PAGES)
def test_committed_tables_are_those_of_the_committed_results(name):
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page.count("<!-- measured: ") == page.count("<!-- end of measured -->") > 0
    assert page_tables.fill(page) == page


def test_pages_are_written_in_place(tmp_path):
    page = tmp_path / "weights.md"
    page.write_text(
        "Before.\n<!-- measured: folds -->\n\n<!-- end of measured -->\nAfter.\n"
    )
    assert page_tables.write(tmp_path) == [page]
    before, *_, after = page.read_text().splitlines()
    assert (before, after) == ("Before.", "After.")
    assert page_tables.folds() in page.read_text()


def test_speed_is_images_a_second():
    cases = json.loads((results.RECORD / "jobs.json").read_text())["cases"]
    case = next(
        case
        for case in cases
        if case["name"] == "stats, 2,000 gray images, 256, PNG, 16 bits, 2 processes"
    )
    seconds = {each["kind"]: each["median"] for each in case["contenders"].values()}
    own, script = seconds["ours"], seconds["peer"]
    of_stats = page_tables.speed().partition("| `stats` |")[2]
    (row,) = [row for row in rows_of(of_stats) if row[0] == "2,000 PNG, 16 bits"]
    shown = [float(cell.replace(",", "")) for cell in row[4:]]
    assert shown[:2] == pytest.approx([2000 / own, 2000 / script], rel=0.05)
    assert shown[2] == pytest.approx(script / own, abs=0.05)


def test_a_hundred_million_images_cost_as_much_as_each_of_them():
    costs = json.loads((results.RECORD / "large_folders.json").read_text())["costs"]
    *_, (images, *_, core, cores) = rows_of(page_tables.millions())
    assert images == "100,000,000"
    hours, unit = core.split()
    assert unit == "h"
    assert float(hours) == pytest.approx(1e8 * costs["png"] / 3600, rel=0.05)
    minutes, unit = cores.split()
    assert unit == "min"
    assert float(minutes) == pytest.approx(1e6 * costs["png"] / 60, rel=0.05)


def test_what_a_file_costs_is_measured(monkeypatch):
    smaller = {"LISTED_FILES": 20, "CONVERTED_FILES": 2, "FEW_FILES": 2}
    for name, count in {**smaller, "MANY_FILES": 4}.items():
        monkeypatch.setattr(large_folders, name, count)
    costs = large_folders.measure()
    assert costs.keys() == {"list", "memory", "manifest", "png", "jpg"}
    assert min(costs["list"], costs["png"], costs["jpg"]) > 0
    assert 50 < costs["manifest"] < 500
