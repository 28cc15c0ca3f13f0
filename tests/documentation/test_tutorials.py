"""Runs the tutorials, each in an empty folder and with no names but its own."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from documentation.code_blocks import blocks_of, run_blocks
from documentation.pages import TUTORIALS


@pytest.mark.parametrize("page", TUTORIALS)
def test_tutorial_runs_in_an_empty_folder(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(blocks_of(page), {"__name__": "__main__"})
