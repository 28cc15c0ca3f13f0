"""Every test that docs/guarantees.md names exists."""

import ast
import re

import pytest
from documentation.code_blocks import ROOT, read_page

NAMED_TESTS = re.findall(
    r"`(tests/[\w/]+\.py)::(\w+)`", read_page("docs/guarantees.md")
)


def test_the_page_names_tests():
    assert len(NAMED_TESTS) > 40


@pytest.mark.parametrize(("path", "name"), NAMED_TESTS)
def test_named_test_exists(path, name):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert name in functions
