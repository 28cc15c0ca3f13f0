"""The examples in the docstrings of `graypipe.io` give the output that they show."""

from pathlib import Path

import pytest
from doctests import run_examples

import graypipe.io

MODULES = [
    path.stem for path in sorted(Path(graypipe.io.__file__).parent.glob("[!_]*.py"))
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_reading(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run_examples(f"graypipe.io.{module}")
    assert not report, report
