"""``python -m benchmarks``, as a person types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def benchmarks(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True
    )


def test_a_group_is_measured_and_reported(tmp_path):
    measured = benchmarks("--quick", "--only", "imports", "--out", tmp_path)

    assert measured.returncode == 0, measured.stderr
    assert "1/1" in measured.stderr  # the progress bar
    assert [path.name for path in tmp_path.iterdir()] == ["imports.json"]
    record = json.loads((tmp_path / "imports.json").read_text(encoding="utf-8"))
    assert (record["scale"], record["threads"]) == ("quick", 1)

    reported = benchmarks("report", "--out", tmp_path, "--docs", tmp_path)

    assert reported.returncode == 0, reported.stderr
    assert "| import graypipe | import numpy | ≤ 1.20x |" in (
        tmp_path / "benchmarks.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [("--only", "nothing"), ("reports",)])
def test_an_unknown_word_is_refused_with_those_there_are(arguments):
    refused = benchmarks(*arguments)

    assert refused.returncode == 2
    assert "imports" in refused.stderr or "report" in refused.stderr
