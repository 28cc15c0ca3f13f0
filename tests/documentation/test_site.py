"""The site has every page and every public object. `.ci/run` builds it."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from documentation.code_blocks import ROOT

import graypipe

ADAPTERS = [
    "albumentations",
    "jax",
    "keras",
    "onnx",
    "tf_data",
    "torch",
    "torchvision",
    "transformers",
]


def pages_in_navigation():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = []
    for section in settings["nav"]:
        for entry in section.values():
            pages += [entry] if isinstance(entry, str) else entry
    return pages


def objects_in_reference():
    text = "\n".join(path.read_text() for path in (ROOT / "docs/api").glob("*.md"))
    # graypipe.plan and graypipe.sensor are also modules, which hold the functions.
    names = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    return {re.sub(r"\.(plan|sensor)\.\1$", r".\1", name) for name in names}


def public_names(module):
    """Return `__all__` of a module, without importing its framework."""
    tree = ast.parse(Path(find_spec(module).origin).read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{module} has no __all__")


def test_navigation_lists_every_page_once():
    docs = ROOT / "docs"
    pages = [str(path.relative_to(docs)) for path in docs.rglob("*.md")]
    made_from_files = ["index.md", "changelog.md", "contributing.md", "security.md"]
    assert sorted(pages_in_navigation()) == sorted(pages + made_from_files)


def test_reference_has_every_public_name():
    public = {f"graypipe.{name}" for name in graypipe.__all__} - {"graypipe.weights"}
    public |= {f"graypipe.weights.{name}" for name in graypipe.weights.__all__}
    listed = objects_in_reference()
    assert {name for name in listed if ".adapters." not in name} == public


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_reference_has_every_public_name_of_an_adapter(adapter):
    module = f"graypipe.adapters.{adapter}"
    listed = {name for name in objects_in_reference() if name.startswith(f"{module}.")}
    assert listed == {f"{module}.{name}" for name in public_names(module)}
