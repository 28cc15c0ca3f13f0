"""What docs/torch.md shows is run, block after block."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"


def test_every_block_of_python_runs(tmp_path):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (32, 40), np.uint8)
    for label, pixels in {
        "a": image,
        "b": rng.integers(0, 256, (32, 40, 3), np.uint8),
    }.items():
        (tmp_path / label).mkdir()
        Image.fromarray(pixels).save(tmp_path / label / "1.png")
    stored = torch.from_numpy(rng.integers(0, 256, (6, 1, 32, 40), np.uint8))
    names = {
        "image": image,
        "folder": tmp_path,
        "gray_file": tmp_path / "a" / "1.png",
        "stored": stored,
    }
    names["labels"] = torch.arange(6)
    blocks = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) > 5
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
