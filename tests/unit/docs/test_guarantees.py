"""What the documentation promises is shown by tests that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()


def sections() -> Iterator[tuple[str, list[str]]]:
    """Yield title and named tests of each section."""
    for section in re.split(r"(?m)^## ", GUARANTEES)[1:]:
        title, _, text = section.partition("\n")
        _, _, shown = text.partition("\nShown by:\n")
        yield title, re.findall(r"(?m)^- `([^`]+)`$", shown)


@pytest.mark.parametrize(("title", "tests"), list(sections()))
def test_every_guarantee_names_tests_that_there_are(title: str, tests: list[str]) -> None:
    assert tests, title
    for test in tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


def test_the_readme_promises_only_what_the_guarantees_say() -> None:
    promised = re.findall(r"guarantees\.md#([a-z0-9-]+)", (ROOT / "README.md").read_text())
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title, _ in sections()}
    assert len(promised) >= 9
    assert set(promised) <= anchors
