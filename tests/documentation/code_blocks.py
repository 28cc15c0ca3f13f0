"""The code blocks of README.md and the pages in docs/, and how the tests run them.

The language written behind the opening fence decides what becomes of a block:

``python``
    runs, in the order of the page and in one namespace per page.
``sh``
    the lines that call ``graypipe`` run; others, such as ``pip install``, do not.
``pyi``
    shows signatures, and does not run.
``text``, ``json``
    shows something else, and does not run.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from graypipe.cli import main

ROOT = Path(__file__).parents[2]
LANGUAGES = {"python", "sh", "pyi", "text", "json"}
FENCED_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes
    ----------
    page : str
        Path of the page, relative to the repository.
    line : int
        Number of the line with the opening fence, from 1 on.
    heading : str
        Text of the heading of level 2 above the block; empty above the first one.
    language : str
        What is written behind the opening fence.
    code : str
        The lines between the fences.
    """

    page: str
    line: int
    heading: str
    language: str
    code: str


def all_pages():
    """Return the path of every page, relative to the repository."""
    docs = ROOT / "docs"
    paths = sorted([*docs.glob("*.md"), *docs.glob("tutorials/*.md")])
    return ["README.md", *(path.relative_to(ROOT).as_posix() for path in paths)]


def read_page(page):
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page):
    """Return the blocks of a page, from top to bottom."""
    text = read_page(page)
    blocks = []
    for match in FENCED_BLOCK.finditer(text):
        above = text[: match.start()]
        headings = re.findall(r"^## (.+)$", above, re.MULTILINE)
        heading = headings[-1] if headings else ""
        line = above.count("\n") + 1
        blocks.append(Block(page, line, heading, match[1], match[2]))
    return blocks


def run_block(block, namespace):
    """Run one block; errors point at its lines in the page."""
    if block.language == "python":
        # The blank lines give the code the line numbers that it has in the page.
        code = "\n" * block.line + block.code
        exec(compile(code, block.page, "exec"), namespace)
    elif block.language == "sh":
        for line in block.code.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            if program == "graypipe":
                assert main(arguments) == 0, line


def run_blocks(blocks, namespace):
    """Run blocks in order in one namespace, and return it."""
    for block in blocks:
        run_block(block, namespace)
    return namespace
