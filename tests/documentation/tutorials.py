"""How the tests run a tutorial."""

import doctest
import re
from pathlib import Path

import numpy as np
from documentation.code_blocks import ROOT, blocks_of, read_page, run_block
from PIL import Image

PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+\.png)\)")


def run_tutorial(page, capsys):
    """Run a page in the current, empty folder with no names but its own; return them.

    A ``text`` block shows what the block above it prints; ``...`` stands for anything.
    A picture ``tutorial-x.png`` that the page shows is equal to the file ``x.png``, if
    the page writes one.
    """
    names = {"__name__": "__main__"}
    printed = ""
    for block in blocks_of(page):
        if block.language == "text":
            assert _is_shown(block.code, printed), f"{page} should show:\n{printed}"
        capsys.readouterr()
        run_block(block, names)
        printed = capsys.readouterr().out
    for target in PICTURE.findall(read_page(page)):
        shown = (ROOT / page).parent / target
        written = Path(shown.name.removeprefix("tutorial-"))
        if written.exists():
            _check_same_picture(shown, written)
    return names


def _is_shown(text, printed):
    """Return whether a page shows what was printed."""
    return doctest.OutputChecker().check_output(text, printed, doctest.ELLIPSIS)


def _check_same_picture(shown, written):
    """Check a picture of the documentation; if it is outdated, copy the written one."""
    with Image.open(shown) as expected, Image.open(written) as actual:
        assert expected.size == actual.size
        difference = np.asarray(expected, np.int16) - np.asarray(actual, np.int16)
    # Rounding of floats may differ between processors.
    assert np.abs(difference).mean() < 0.5, f"copy {written.resolve()} to {shown}"
