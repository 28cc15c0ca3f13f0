"""Runs the recipes of docs/recipes.md, with Hugging Face kept off the network."""

import os

import pytest
from documentation.code_blocks import blocks_of, run_block

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

RECIPES = {block.heading: block for block in blocks_of("docs/recipes.md")}


@pytest.fixture(scope="session")
def recipes():
    """The block of code under each heading."""
    return RECIPES


@pytest.fixture
def run_recipe(tmp_path, monkeypatch):
    """Run the recipe under a heading in ``tmp_path``; return the names it defines."""
    monkeypatch.chdir(tmp_path)

    def run(heading):
        namespace = {}
        run_block(RECIPES[heading], namespace)
        return namespace

    return run
