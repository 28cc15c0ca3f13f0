"""The built site in Chromium: every page, on a desktop and on a phone, and the search.

pytest does not collect this file on its own, because it needs the site, Chromium and
Playwright:

    apt-get install -y chromium && pip install playwright
    mkdocs build --strict
    python -m pytest -n 0 tests/recipes/site_pages.py

CHROMIUM is the path of the browser, /usr/bin/chromium by default; SITE is the folder of
the site. With SCREENSHOTS, a folder, every page is saved as a picture.
"""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from documentation.code_blocks import ROOT

SITE = Path(os.environ.get("SITE", ROOT / "site"))
VIEWPORTS = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 360, "height": 740},
}
PAGES = sorted(
    path.parent.relative_to(SITE).as_posix() for path in SITE.rglob("index.html")
)

# What people type, and the pages of which one must be found first
SEARCHES = {
    "12-bit": ("recipes/", "tutorials/"),
    "RGBY": ("recipes/", "tutorials/"),
    "Sentinel-2": ("recipes/", "sensors/", "tutorials/"),
    "inchans": ("coming-from/",),
    "grayscale to RGB": ("coming-from/",),
    "Grayscale(3)": ("coming-from/",),
}

# Elements that are cut off: beyond the right edge, and in nothing that scrolls
CUT_OFF = """() => [...document.querySelectorAll("article *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .filter((each) => {
        for (let at = each.parentElement; at; at = at.parentElement) {
            if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return false;
        }
        return true;
    })
    .map((each) => each.outerHTML.slice(0, 200))"""

BROKEN_IMAGES = """() => [...document.images]
    .filter((each) => !each.complete || !each.naturalWidth)
    .map((each) => each.src)"""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line in the log for each."""

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def address():
    """Serve the site on this machine."""
    handler = partial(QuietHandler, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_site_was_built():
    assert {".", "coming-from", "sensors", "benchmark-tables"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_and_loads_nothing_from_elsewhere(browser, address, name):
    page = browser.new_page()
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{address}{name}/", wait_until="networkidle")
    for viewport, size in VIEWPORTS.items():
        page.set_viewport_size(size)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width == size["width"], viewport
        assert page.evaluate(CUT_OFF) == [], viewport
        assert page.evaluate(BROKEN_IMAGES) == [], viewport
        if "SCREENSHOTS" in os.environ:
            file = f"{name.replace('/', '-').replace('.', 'start')}-{viewport}.png"
            page.screenshot(path=Path(os.environ["SCREENSHOTS"], file), full_page=True)
    assert messages == []
    assert [url for url in requests if not url.startswith((address, "data:"))] == []
    page.close()


@pytest.mark.parametrize("words", SEARCHES)
def test_search_finds_a_useful_page_first(browser, address, words):
    page = browser.new_page(viewport=VIEWPORTS["desktop"])
    page.goto(address, wait_until="networkidle")
    page.locator("input.md-search__input").click()
    page.locator("input.md-search__input").press_sequentially(words, delay=20)
    first = page.locator("li.md-search-result__item a").first
    first.wait_for()
    assert first.get_attribute("href").removeprefix(address).startswith(SEARCHES[words])
    page.close()
