"""Every recipe of docs/recipes.md has a test that runs it and checks its result."""

import re
from pathlib import Path

from documentation.code_blocks import blocks_of, read_page


def test_every_recipe_is_run_by_a_test(recipes):
    tests = ""
    for path in Path(__file__).parent.glob("test_*.py"):
        tests += path.read_text(encoding="utf-8")
    run = re.findall(r'(?:run_recipe\(|recipes\[)"([^"]+)"', tests)
    headings = re.findall(r"^## (.+)$", read_page("docs/recipes.md"), re.MULTILINE)
    assert set(run) == set(recipes) == set(headings)


def test_every_recipe_is_one_block():
    headings = [block.heading for block in blocks_of("docs/recipes.md")]
    assert len(headings) == len(set(headings))
