"""docs/recipes.md: no recipe without a test that runs it, and no block that the tests do not see."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "recipes.md"


def test_every_recipe_of_the_page_is_run_by_a_test(recipes):
    text = PAGE.read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    run = set(re.findall(r'(?:run_recipe\(|recipes\[)"([^"]+)"', tests))
    assert run == set(recipes) == set(re.findall(r"^## (.+)$", text, re.MULTILINE))
    assert len(recipes) == text.count("```python") == 12
