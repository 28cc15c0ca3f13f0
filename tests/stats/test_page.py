"""docs/fitting.md: every block of Python on it runs, in order."""

import re
from pathlib import Path

import numpy as np

import graypipe as gp

PAGE = Path(__file__).parent.parent.parent / "docs" / "fitting.md"


def test_every_block_of_python_runs():
    rng = np.random.default_rng(3)
    names = {
        "gp": gp,
        "scans": list(rng.integers(0, 4096, (4, 12, 16, 4), dtype=np.uint16)),
        "frames": list(rng.normal(300, 5, (4, 12, 16)).astype(np.float32)),
    }
    blocks = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert len(blocks) == 5
    assert names["x"].shape == (3, 12, 16)
