"""Runs the recipes of docs/recipes.md, in a folder of the test's own, and keeps Hugging Face off the network."""

import os
import re
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

PAGE = Path(__file__).parent.parent.parent / "docs" / "recipes.md"
RECIPES = dict(
    re.findall(
        r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```",
        PAGE.read_text("utf-8"),
        re.M | re.S,
    )
)


@pytest.fixture(scope="session")
def recipes():
    """The block of code under each heading."""
    return RECIPES


@pytest.fixture
def run_recipe(tmp_path, monkeypatch):
    """Run the recipe under a heading where the test has put its files, and return the names that it leaves."""
    monkeypatch.chdir(tmp_path)

    def run(title):
        names = {}
        exec(compile(RECIPES[title], f"{PAGE.name}: {title}", "exec"), names)
        return names

    return run
