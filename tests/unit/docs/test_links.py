"""The pages can be read line by line, and lead somewhere: every relative link, anchor, and file of the code."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "clients" / "python").glob("*.md"),
        *(ROOT / "gen").glob("*.md"),
    }
)
ABOUT_THE_CODE = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "RELEASING.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs" / "adr").glob("*.md"),
]

MAX_LENGTH = 120

_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)?)\)")
_FOLDERS = "adapters|bench|clients|d1gateway|deploy|docs|gateway|gen|proto|sandbox|tests|tools"
# Acme is the platform that docs/adding-an-adapter.md invents.
_FILE = re.compile(rf"`((?!adapters/acme)(?:{_FOLDERS})/[\w@./*-]*)`")


@cache
def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def links(page: Path) -> Iterator[str]:
    yield from (link for link in _LINK.findall(_CODE.sub("", prose(page))) if "://" not in link)


def is_broken(page: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def test_every_relative_link_and_its_anchor_lead_somewhere() -> None:
    assert [(page, link) for page in PAGES for link in links(page) if is_broken(page, link)] == []


def test_every_file_that_a_page_names_is_there() -> None:
    named = [(page, name) for page in ABOUT_THE_CODE for name in _FILE.findall(prose(page))]
    assert [each for each in named if not any(ROOT.glob(each[1].rstrip("/")))] == []


def test_prose_wraps_at_120() -> None:
    # A table's row and the name of a test cannot be wrapped.
    lines = [
        (page, line) for page in PAGES for line in prose(page).splitlines() if not line.startswith(("|", "- `tests/"))
    ]
    assert [each for each in lines if len(each[1]) > MAX_LENGTH] == []


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {*(ROOT / "docs").glob("*.md"), ROOT / "docs" / "adr" / "README.md"} - {index}
    assert sorted(pages - listed) == []


def test_the_index_of_decisions_lists_every_one_with_its_status() -> None:
    index = ROOT / "docs" / "adr" / "README.md"
    rows = dict(re.findall(r"^\| \[.+?\]\((\d{4}-.+?\.md)\) \| (.+?) \|$", index.read_text(), re.MULTILINE))
    decisions = {page.name: page.read_text() for page in index.parent.glob("0*.md")}
    assert rows.keys() == decisions.keys()
    for name, text in decisions.items():
        assert f"\nStatus: {rows[name]}" in text, name
