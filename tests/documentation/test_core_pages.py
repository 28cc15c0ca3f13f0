"""Runs the pages that need NumPy and Pillow alone."""

import re

import numpy as np
import pytest
from documentation.code_blocks import blocks_of, read_page, run_blocks
from documentation.pages import CORE_PAGES
from PIL import Image

import graypipe as gp


@pytest.fixture
def names(tmp_path):
    """The arrays that README.md and docs/how-to.md start from."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (12, 16), dtype=np.uint8)
    path = tmp_path / "scan.pgm"  # PNG needs the extra io
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


@pytest.mark.parametrize("page", CORE_PAGES)
def test_every_block_runs(page, names):
    run_blocks(blocks_of(page), names)


def test_blocks_about_arrays_of_weights_run(names):
    blocks = blocks_of("docs/weights.md")
    headings = [block.heading for block in blocks]
    first_framework_block = headings.index("Keras models")
    assert first_framework_block >= 4
    run_blocks(blocks[:first_framework_block], names)


def test_readme_starts_with_the_one_call():
    first = blocks_of("README.md")[0]
    assert 'gp.plan("gray", "imagenet")(image)' in first.code


def readme_calls():
    """Return the calls in the last column of README's tables."""
    calls = []
    for line in read_page("README.md").splitlines():
        if line.startswith("| "):
            last_column = line.rsplit("|", 2)[1]
            calls += re.findall(r"`([^`]+)`", last_column)
    return [call for call in calls if "gp." in call or "plan." in call]


def test_readme_table_has_its_calls():
    assert len(readme_calls()) == 10


@pytest.mark.parametrize("call", readme_calls())
def test_every_call_of_the_readme_table_runs(call, names):
    image = names["image"]
    if "bits=12" in call or "4095" in call:
        names["image"] = image.astype(np.uint16)
    if "-160" in call or "-9999" in call:
        names["image"] = image.astype(np.int16)
    if "range=(0, 255)" in call:
        names["image"] = image.astype(np.float32)
    exec(compile(call, "README.md", "exec"), names)
