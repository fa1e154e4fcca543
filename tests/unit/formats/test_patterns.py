import pytest

from gateway.formats.patterns import in_words


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("^[0-9]{13,19}$", "13 to 19 digits"),
        ("^[0-9]{0,4}$", "at most 4 digits"),
        ("^[0-9]+$", "at least 1 digit"),
        ("^[A-Za-z0-9_.-]{1,64}$", "1 to 64 characters of A-Z a-z 0-9 _ . -"),
        ("^[a-zA-Z0-9 ]{2}$", "2 characters of a-z A-Z 0-9 space"),
        (
            r"^[\p{L}\x{0600}-\x{06FF} ,]+$",
            "at least 1 character of letters (accents composed, no combining marks) U+0600-U+06FF space ,",
        ),
        ("^([A-Z]{3}|[0-9]{3})$", "3 characters of A-Z, or 3 digits"),
        (r"^\+[0-9]{1,4}$", "+, then 1 to 4 digits"),
        ("^[A-Z][A-Z0-9_]{0,63}$", "1 character of A-Z, then at most 63 characters of A-Z 0-9 _"),
        ("^[a-z0-9+/]{26,28}={0,2}$", "26 to 28 characters of a-z 0-9 + /, then at most 2 characters of ="),
        ("^(0[1-3]|[89][0-9])$", "one of 01-03, 80-99"),
        ("^(0[14-8]|1[01])$", "one of 01, 04-08, 10-11"),
        ("^[0-9]{4}-(0[1-9]|1[012])-(0[1-9]|[12][0-9]|3[01])$", "a date, YYYY-MM-DD"),
    ],
)
def test_a_simple_pattern_has_words(pattern: str, words: str) -> None:
    assert in_words(pattern) == words


@pytest.mark.parametrize(
    "pattern",
    [
        "^(https://|data:)",
        "^[0-9]{4}-(0[1-9]|1[012])$",
        "^[^a]$",
        r"^\d+$",
        "^[a-z]+[.][a-z]+[.][a-z]+$",
        "^a.b$",
        "^[a",
    ],
)
def test_another_pattern_stands_for_itself(pattern: str) -> None:
    assert in_words(pattern) == f"a text that matches the pattern {pattern}"
