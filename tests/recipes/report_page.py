"""The page of ``graypipe inspect --html`` in Chromium.

pytest does not collect this file on its own, because it needs Chromium and Playwright:

    apt-get install -y chromium && pip install playwright
    python -m pytest -n 0 tests/recipes/report_page.py

CHROMIUM is the path of the browser, /usr/bin/chromium by default.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from image_sets import save

from graypipe.cli import main

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
RANDOM = np.random.default_rng(17)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """Return a page about images of many kinds, with long and hostile names."""
    folder = tmp_path_factory.mktemp("images")
    for at in range(60):
        save(folder / f"{at:02}.png", RANDOM.integers(0, 4096, (60, 80), np.uint16))
        colour = RANDOM.integers(0, 256, (50 + at, 70, 3), np.uint8)
        save(folder / f"colour {at:02}.jpg", colour)
    bands = RANDOM.integers(1000, 9000, (40, 50, 12), np.uint16)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    save(folder / "tile.tif", bands, **options)
    rgba = RANDOM.integers(0, 256, (30, 40, 4), np.uint8)
    save(folder / f"{'without-any-space' * 12}.png", rgba)
    script = "<script>document.title='changed'<script>"
    save(folder / f"{script}.png", rgba)
    save(folder / "<img src='http:x.invalid' onerror='throw 1'>.png", rgba)
    metadata = {"axes": "CYX", "Channel": {"Name": [f"{script}{'x' * 300}", "GFP"]}}
    options = {"photometric": "minisblack", "metadata": metadata, "ome": True}
    save(folder / "cells.tif", np.stack([rgba[..., 0], rgba[..., 1]]), **options)
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["inspect", str(folder), "--html", str(path)]) == 1
    return path


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_shows_everything_without_errors(browser, page_path, viewport):
    page = browser.new_page(viewport=viewport)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_path.as_uri(), wait_until="load")
    assert messages == []
    assert [url[:60] for url in requests if not url.startswith("data:")] == [
        page_path.as_uri()
    ]
    assert page.title().startswith("Images in ")

    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == viewport["width"]
    overflowing = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((each) => !each.closest(".scroll"))
            .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
            .map((each) => each.outerHTML.slice(0, 200))"""
    )
    assert overflowing == []

    pictures = page.evaluate(
        """() => [...document.images]
            .map((each) => [each.complete, each.naturalWidth, each.clientWidth])"""
    )
    assert len(pictures) > 48
    assert all(complete and width and shown for complete, width, shown in pictures)

    if "SCREENSHOTS" in os.environ:
        name = f"report-{viewport['width']}.png"
        path = Path(os.environ["SCREENSHOTS"], name)
        page.screenshot(path=path, full_page=True)
    page.close()


def test_page_needs_no_scripts(browser, page_path):
    context = browser.new_context(java_script_enabled=False, viewport=DESKTOP)
    page = context.new_page()
    page.goto(page_path.as_uri())
    assert page.get_by_text("What is wrong").is_visible()
    assert page.get_by_text("What to type next").is_visible()
    context.close()
