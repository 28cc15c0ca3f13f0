"""The examples in the docstrings of the core give the output that they show."""

from pathlib import Path

import pytest
from doctests import run_examples

import graypipe

PACKAGE = Path(graypipe.__file__).parent

# Modules of these folders import an extra; the commands' examples are in docs/.
# tests/io/test_docstring_examples.py runs those of `io`.
ELSEWHERE = {"adapters", "batch_jobs", "cli", "demo", "engine", "io"}

# Needs matplotlib; tests/drawing/test_drawing.py runs its example.
SHOW = "graypipe.plan.Plan.show"


def core_modules():
    """Return the names of the modules that NumPy and Pillow suffice for."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ELSEWHERE and not parts[-1].startswith("__"):
            names.append(".".join(("graypipe", *parts)))
    return names


@pytest.mark.parametrize("module", core_modules())
def test_examples_of_the_core(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run_examples(module, lambda name: name != SHOW)
    assert not report, report
