"""Runs the recipes of docs/recipes.md, with Hugging Face kept off the network; starts a browser."""

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


@pytest.fixture(scope="module")
def browser():
    """Chromium: the program that the variable CHROMIUM names, or /usr/bin/chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium cannot use its sandbox as root, as in a container.
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        yield browser
        browser.close()


@pytest.fixture
def run_recipe(tmp_path, monkeypatch):
    """Run the recipe under a heading in ``tmp_path``; return the names it defines."""
    monkeypatch.chdir(tmp_path)

    def run(heading):
        namespace = {}
        run_block(RECIPES[heading], namespace)
        return namespace

    return run
