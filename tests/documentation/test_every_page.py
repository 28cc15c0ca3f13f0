"""No block of a page is left out without a mark that the reader sees."""

import pytest
from documentation.code_blocks import LANGUAGES, all_pages, blocks_of, read_page
from documentation.pages import (
    CORE_PAGES,
    FRAMEWORK_PAGES,
    RECIPES,
    TUTORIALS,
    YOLO_PAGES,
)


def test_every_page_with_code_is_run():
    pages_with_code = set()
    for page in all_pages():
        languages = {block.language for block in blocks_of(page)}
        if languages & {"python", "sh"}:
            pages_with_code.add(page)
    # Benchmarks take hours: their pages only show how to start them.
    pages_with_code -= {"docs/benchmarks.md", "docs/zero-copy.md", "docs/accuracy.md"}
    assert pages_with_code == {
        *CORE_PAGES,
        *FRAMEWORK_PAGES,
        *TUTORIALS,
        RECIPES,
        *YOLO_PAGES,
    }


@pytest.mark.parametrize("page", all_pages())
def test_every_fence_is_read_and_has_a_language(page):
    blocks = blocks_of(page)
    fences = [line for line in read_page(page).splitlines() if "```" in line]
    assert len(fences) == 2 * len(blocks)
    assert {block.language for block in blocks} <= LANGUAGES
