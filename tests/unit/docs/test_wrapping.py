"""Every page can be read in a terminal and compared line by line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/python/*.md"))
)
MAX_LENGTH = 120


def prose(page: str) -> Iterator[str]:
    """Return the lines of a page without tables and code."""
    is_code = False
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith("|"):
            yield line


@pytest.mark.parametrize("page", PAGES)
def test_prose_wraps_at_120(page: str) -> None:
    assert [line for line in prose(page) if len(line) > MAX_LENGTH] == []
