"""Every page of the docs: its code runs as it is printed, top to bottom, and its assertions hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf8"), re.S | re.M)
    assert len(blocks) >= 2
    assert sum(block.count("assert ") for block in blocks) >= 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)  # the page's own words


def test_the_index_names_every_page():
    index = (DOCS / "README.md").read_text(encoding="utf8")
    assert sorted(re.findall(r"\]\((\w+\.md)\)", index)) == PAGES
    assert len(PAGES) == 11
    for path in re.findall(r"`(penjing/[\w/]+\.py)`", index):
        assert (DOCS.parent / "src" / path).is_file(), path
