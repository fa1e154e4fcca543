"""What the documentation promises is shown by tests that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LIMITS = (ROOT / "docs" / "exposure.md").read_text().partition("\n## Limits\n")[2].partition("\n\nA caller")[0]
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()


def sections() -> Iterator[tuple[str, list[str]]]:
    """Yield title and named tests of each section."""
    for section in re.split(r"(?m)^## ", GUARANTEES)[1:]:
        title, _, text = section.partition("\n")
        _, _, shown = text.partition("\nShown by:\n")
        yield title, re.findall(r"(?m)^- `([^`]+)`$", shown)


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize(("title", "tests"), list(sections()))
def test_every_guarantee_names_tests_that_there_are(title: str, tests: list[str]) -> None:
    assert tests, title
    assert [test for test in tests if not exists(test)] == []


def test_every_limit_names_tests_that_there_are() -> None:
    rows = [line for line in LIMITS.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        tests = re.findall(r"`(tests/[^`]+)`", row)
        assert tests, row
        assert [test for test in tests if not exists(test)] == []


def test_the_readme_promises_only_what_the_guarantees_say() -> None:
    promised = re.findall(r"guarantees\.md#([a-z0-9-]+)", (ROOT / "README.md").read_text())
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title, _ in sections()}
    assert len(promised) >= 9
    assert set(promised) <= anchors
