"""Runs the tutorials, each in an empty folder and with no names but its own."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from documentation.pages import TUTORIALS
from documentation.tutorials import run_tutorial


@pytest.mark.parametrize("page", TUTORIALS)
def test_tutorial_runs_in_an_empty_folder(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_tutorial(page, capsys)
