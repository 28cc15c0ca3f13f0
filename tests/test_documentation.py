"""What the documentation shows is run: every block of Python in the README and the how-to, and the table's calls."""

import re
from pathlib import Path

import numpy as np
import pytest

import graypipe as gp

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/how-to.md"]


@pytest.fixture
def names(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (12, 16), dtype=np.uint8)
    path = tmp_path / "scan.png"
    Image.fromarray(image).save(path)
    plan = gp.plan("gray", "imagenet")
    return {
        "gp": gp,
        "image": image,
        "images": np.stack([image, image]),
        "batch": np.stack([image, image]),
        "rgb": rng.integers(0, 256, (12, 16, 3), dtype=np.uint8),
        "rgby": rng.integers(0, 256, (12, 16, 4), dtype=np.uint8),
        "scene": rng.integers(1000, 11000, (12, 16, 3), dtype=np.uint16),
        "path": path,
        "plan": plan,
        "x": plan(image),
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_runs(page, names):
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL
    )
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_the_first_code_of_the_readme_is_the_one_call():
    first = re.search(
        r"```python\n(.*?)```",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert 'gp.plan("gray", "imagenet")(image)' in first[1]


def table(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [
        cell for row in rows for cell in re.findall(r"`([^`]+)`", row.rsplit("|", 2)[1])
    ]


README_CALLS = [call for call in table("README.md") if "gp." in call or "plan." in call]


@pytest.mark.parametrize("call", README_CALLS)
def test_every_call_of_the_readme_table_runs(call, names):
    image = names["image"]
    if "bits=12" in call or "4095" in call:
        names["image"] = image.astype(np.uint16)
    if "-160" in call or "-9999" in call:
        names["image"] = image.astype(np.int16)
    if "floats" in call or "range=(0, 255)" in call:
        names["image"] = image.astype(np.float32)
    exec(compile(call, "table", "exec"), names)


def test_the_readme_table_is_found():
    assert len(README_CALLS) > 10
