"""Result files and the pages made from them."""

import json
import platform
from pathlib import Path

import jsonschema
import pytest

from benchmarks import groups, report, results, running
from benchmarks.scale import TINY

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def records():
    return {
        group: running.run(group, TINY, [].append)
        for group in ("mix", "views", "zero_copy")
    }


def test_results_survive_the_round_trip_through_files(records, tmp_path):
    for record in records.values():
        results.write(record, tmp_path)

    assert results.read(tmp_path, groups.GROUPS) == records


@pytest.mark.parametrize(
    "broken", [{"threads": 2}, {"cases": []}, {"date": "today"}, {"host": "a name"}]
)
def test_results_that_break_the_schema_are_not_written(records, tmp_path, broken):
    with pytest.raises(jsonschema.ValidationError):
        results.write(records["mix"] | broken, tmp_path)
    assert not list(tmp_path.iterdir())


def test_results_name_neither_host_nor_folder(records):
    text = json.dumps(records)

    assert platform.node() not in text
    assert str(Path.cwd()) not in text
    assert str(Path.home()) not in text


def test_report_compares_with_the_fastest_peer(records, tmp_path):
    for record in records.values():
        results.write(record, tmp_path)

    report.write(tmp_path, tmp_path)

    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "$" not in text
    assert "## Multi-band input" in text
    for case in records["mix"]["cases"]:
        peers = {}
        for name, figure in case["contenders"].items():
            if figure["kind"] == "peer":
                peers[name] = figure["median"]
        assert f"| {case['name']} | {min(peers, key=peers.get)} |" in text
    assert "**Not a record**" in text


def test_committed_report_is_readable_on_one_page():
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 200


def test_reasons_for_leaving_peers_out_are_recorded(records):
    left_out = [case["left_out"] for case in records["mix"]["cases"]]
    assert {"cv2.transform": "reads and writes HWC only"} in left_out


def test_the_study_quotes_figures_of_the_results(records, tmp_path):
    for record in records.values():
        results.write(record, tmp_path)

    paths = report.write(tmp_path, tmp_path)

    text = (tmp_path / "zero-copy.md").read_text(encoding="utf-8")
    assert "$" not in text
    assert "| torch.from_numpy | shared |" in text
    assert (tmp_path / "images" / "zero-copy.png") in paths
    assert all(path.stat().st_size for path in paths)


def test_without_results_there_is_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m benchmarks"):
        report.write(tmp_path, tmp_path)


def test_the_committed_pages_are_those_of_the_committed_results():
    committed = results.read(results.RECORD, (*groups.GROUPS, *groups.ELSEWHERE))
    pages = report.pages(committed) if committed else {}

    for name in ("benchmarks.md", "zero-copy.md"):
        page = DOCS / name
        assert (
            page.read_text(encoding="utf-8") if page.exists() else None
        ) == pages.get(name)
    assert all(record["scale"] == "full" for record in committed.values())
