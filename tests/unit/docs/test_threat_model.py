"""The threat model speaks of what there is: every file, test and page that it names."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "threat-model.md"
TEXT = DOCUMENT.read_text()

ROWS = [
    (cells[0], cells[3], cells[4])
    for line in TEXT.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 5 and re.match(r"T\d+$", cells[0])
]
"""Of each threat: its number, its mitigation, and what shows it."""

_PINS = ["requirements-dev.txt", "requirements.txt", "requirements-build.txt", "clients/python/requirements.txt"]


def quoted(cell: str) -> Sequence[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_threats_are_numbered_without_a_gap() -> None:
    assert [number for number, _, _ in ROWS] == [f"T{number}" for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) == len(re.findall(r"^\| T\d", TEXT, re.MULTILINE)), "a row that could not be read"


def test_the_risks_that_are_left_and_the_assumptions_are_numbered_without_a_gap() -> None:
    for letter in "RA":
        numbers = [int(number) for number in re.findall(rf"^- \*\*{letter}(\d+)", TEXT, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert numbers


def test_every_mitigation_names_a_file_that_there_is() -> None:
    for number, mitigation, _ in ROWS:
        names = quoted(mitigation)
        files = [name for name in names if "/" in name or name.endswith((".txt", ".toml")) or name == "Makefile"]
        assert files, number
        assert [name for name in files if not (ROOT / name).is_file()] == [], number


def test_every_threat_names_a_test_that_there_is() -> None:
    for number, _, shown in ROWS:
        tests = quoted(shown)
        assert tests, number
        for test in tests:
            path, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


@pytest.mark.parametrize("pins", _PINS)
def test_every_pinned_package_has_a_version_and_hashes(pins: str) -> None:
    lines = (ROOT / pins).read_text().replace("\\\n", " ").splitlines()
    packages = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert len(packages) > 5
    assert [line for line in packages if not re.match(r"[\w.\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


@pytest.mark.parametrize("pins", _PINS[1:])
def test_what_is_released_is_what_was_tested(pins: str) -> None:
    tested, released = (
        set(re.findall(r"^([\w.-]+==\S+)", (ROOT / file).read_text(), re.MULTILINE)) for file in (_PINS[0], pins)
    )
    assert released - tested == set()
