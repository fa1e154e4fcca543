"""Whether every text that one rule lets through passes another: patterns and lengths."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["Texts", "same_pattern"]

_SET: Final = re.compile(
    r"\^?(?P<set>\[(?:[^\]\\]|\\.)+\]|\\d|\.)(?:\{(?P<least>\d+)(?P<to>,(?P<most>\d*))?\}|(?P<sign>[+*]))?\$?"
)
_CHARACTERS: Final = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x250), *range(0x370, 0x700)]))
"""Those with which sets are compared."""
_RANGE: Final = re.compile(r"(?s)\\?(.)-\\?(.)|\\?(.)")


class Texts(NamedTuple):
    """Texts of some characters and of some lengths."""

    characters: frozenset[str] | None
    """None: any, or not to be told from the pattern."""
    least: float
    most: float

    @classmethod
    def of(cls, pattern: str, least: float | None, most: float | None) -> "Texts":
        """Return the texts that match a pattern, which may be empty, within limits of length."""
        low, high = least or 0, float("inf") if most is None else most
        match = _SET.fullmatch(pattern)
        if match is None:
            return cls(None, low, high)
        count = {"+": (1, float("inf")), "*": (0, float("inf"))}.get(match["sign"] or "", (1, 1))
        if match["least"]:
            lowest = int(match["least"])
            count = (lowest, lowest if match["to"] is None else float(match["most"] or "inf"))
        return cls(_characters(match["set"]), max(low, count[0]), min(high, count[1]))


@lru_cache(maxsize=256)
def _characters(characters: str) -> frozenset[str] | None:
    try:
        return frozenset(re.findall(characters, _CHARACTERS))
    except re.error:
        return None


def same_pattern(one: str, other: str) -> bool:
    """Return whether two patterns differ at most in how they are spelled, as ``[0-1]`` and ``[01]`` do."""
    return _canonical(one) == _canonical(other)


@lru_cache(maxsize=256)
def _canonical(pattern: str) -> str:
    text = pattern.removeprefix("^").removesuffix("$").replace(r"\d", "[0-9]").replace(r"\/", "/")
    text = re.sub(r"\\x\{([0-9A-Fa-f]{4})\}", r"\\u\1", text)
    return re.sub(r"\[((?:[^\]\\]|\\.)+)\]", lambda match: f"[{_sorted(match[1])}]", text)


def _sorted(content: str) -> str:
    if re.search(r"\\[a-zA-Z]|^\^", content):
        return content
    found: set[str] = set()
    for first, last, alone in _RANGE.findall(content):
        found |= {alone} if alone else set(map(chr, range(ord(first), ord(last) + 1)))
    return "".join(sorted(found))
