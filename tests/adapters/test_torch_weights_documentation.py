"""What docs/weights.md shows of models of torch is run, and its table is the one that is measured."""

import re
from pathlib import Path

import numpy as np
import pytest

import graypipe as gp
from benchmarks import folding_error

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Models of torch\n")[2].partition("\n## ")[0]


def test_every_block_of_python_runs(tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (64, 80), np.uint8)
    names = {"gp": gp, "image": image, "folder": tmp_path}
    blocks = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/weights.md", "exec"), names)


@pytest.mark.parametrize("stem", folding_error.STEMS)
def test_the_errors_of_the_table_are_measured_again(stem):
    shown = next(
        line for line in SECTION.splitlines() if line.startswith(f"| {stem} |")
    )
    summed, black, folded, exact = map(float, shown.split("|")[2:-1])
    again = folding_error.errors(folding_error.random_stem(stem))
    assert list(again.values())[:2] == pytest.approx([summed, black], rel=0.1, abs=1e-5)
    assert again[folding_error.FOLDED] == pytest.approx(folded, rel=0.1, abs=1e-5)
    assert max(again[folding_error.EXACT], exact) <= 1e-5
    assert folded <= min(summed, black)
