"""The table of folding errors in docs/weights.md shows what is measured."""

from pathlib import Path

import pytest

from benchmarks import folding_error

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("stem", folding_error.STEMS)
def test_table_shows_the_measured_errors(stem):
    shown = next(line for line in PAGE.splitlines() if line.startswith(f"| {stem} |"))
    summed, black, folded, exact = map(float, shown.split("|")[2:-1])
    again = folding_error.errors(folding_error.random_stem(stem))
    assert list(again.values())[:2] == pytest.approx([summed, black], rel=0.1, abs=1e-5)
    assert again[folding_error.FOLDED] == pytest.approx(folded, rel=0.1, abs=1e-5)
    assert max(again[folding_error.EXACT], exact) <= 1e-5
    assert folded <= min(summed, black)
