"""Regular expressions in words, for callers whose values do not match them.

Simple patterns are described: alternatives of a few parts, each a character or a set of them, and how often it comes.
Those with a name of their own have that name.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["in_words"]

_MAX_PARTS: Final = 3
_PART: Final = re.compile(
    r"(?:\[(?P<set>(?:[^\]\\^]|\\[px]\{\w+\})+)\]|\\(?P<escaped>[.+*?|])|(?P<plain>[^][.+*?|(){}\\^$]))"
    r"(?:\{(?P<least>[0-9]+)(?:,(?P<most>[0-9]+))?\}|(?P<sign>[+*?]))?"
)
_SIGNS: Final = {"?": (0, 1), "+": (1, None), "*": (0, None)}
_ITEM: Final = re.compile(r"\\p\{\w+\}|\\x\{\w+\}-\\x\{\w+\}|[A-Za-z0-9]-[A-Za-z0-9]|.")
_NAMES: Final = {r"\p{L}": "letters (accents composed, no combining marks)", r"\p{N}": "digits", " ": "space"}
_CODE_POINTS: Final = re.compile(r"\\x\{(\w+)\}")
_NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "^[0-9]{4}-(0[1-9]|1[012])-(0[1-9]|[12][0-9]|3[01])$": "a date, YYYY-MM-DD",
        r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$": (
            "a compact JWE: five parts of A-Z a-z 0-9 _ -, joined by dots; the second may be empty"
        ),
    }
)
"""Patterns of the contracts that are not simple, as people call them."""


class _Part(NamedTuple):
    """A part of a pattern: characters of a set, or one character, and how often it comes."""

    items: tuple[str, ...]
    """Characters and ranges of them, as in the pattern."""
    least: int
    most: int | None


@lru_cache(maxsize=1024)  # more than the patterns of all contracts and tables
def in_words(pattern: str) -> str:
    """Return what a text must be to match a pattern, as in ``1 to 3 digits``; the pattern itself if it has no words."""
    if named := _NAMED.get(pattern):
        return named
    body = pattern.removeprefix("^").removesuffix("$")
    inner = body[1:-1] if body.startswith("(") and body.endswith(")") else body
    alternatives = [_parts(each) for each in inner.split("|")]
    if all(alternatives) and (codes := _codes(alternatives)):
        return f"one of {codes}"
    if not all(1 <= len(parts) <= _MAX_PARTS for parts in alternatives):
        return f"a text that matches the pattern {pattern}"
    return ", or ".join(", then ".join(map(_shown, parts)) for parts in alternatives)


def _parts(alternative: str) -> list[_Part]:
    """Return the parts of an alternative; none if it is not simple."""
    parts: list[_Part] = []
    end = 0
    for match in _PART.finditer(alternative):
        if match.start() != end:
            return []
        end = match.end()
        items = _ITEM.findall(match["set"]) if match["set"] else (match["escaped"] or match["plain"],)
        parts.append(_Part(tuple(items), *_bounds(match)))
    return parts if end == len(alternative) else []


def _bounds(match: re.Match[str]) -> tuple[int, int | None]:
    if match["least"]:
        return int(match["least"]), int(match["most"] or match["least"])
    return _SIGNS[match["sign"]] if match["sign"] else (1, 1)


def _codes(alternatives: list[list[_Part]]) -> str:
    """Return the codes that alternatives of single digits list: ``01-03, 80-99``; an empty text if they are others."""
    codes: list[str] = []
    for parts in alternatives:
        digits = [_digits(part) for part in parts]
        if not all(digits):
            return ""
        codes += ["".join(each) for each in product(*digits)]
    ranges: list[list[str]] = []
    for code in codes:
        if ranges and int(code) == int(ranges[-1][-1]) + 1:
            ranges[-1].append(code)
        else:
            ranges.append([code])
    return ", ".join(each[0] if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in ranges)


def _digits(part: _Part) -> list[str]:
    """Return the digits of which a part is one; none if it is anything else."""
    if not (part.least == part.most == 1 and all(item[0].isdigit() for item in part.items)):
        return []
    return [str(digit) for item in part.items for digit in range(int(item[0]), int(item[-1]) + 1)]


def _shown(part: _Part) -> str:
    if part.least == part.most == len(part.items) == 1 and part.items[0] not in _NAMES and len(part.items[0]) == 1:
        return part.items[0]
    number = _number(part.least, part.most)
    plural = "" if (part.most or part.least) == 1 else "s"
    if part.items == ("0-9",):
        return f"{number} digit{plural}"
    characters = " ".join(_NAMES.get(item) or _CODE_POINTS.sub(r"U+\1", item) for item in part.items)
    return f"{number} character{plural} of {characters}"


def _number(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}" if least else "any number of"
    if least == most:
        return str(least)
    return f"{least} to {most}" if least else f"at most {most}"
