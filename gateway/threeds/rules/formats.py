"""The rules for a single value, from its row of the tables."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address
from typing import Any

import orjson

from gateway.formats.patterns import in_words
from gateway.threeds.rules.tables import Row

__all__ = ["FORMATS", "Requirement", "count_requirements", "expand", "json_requirements", "text_requirements"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A rule for a value."""

    rule: str
    """The rule's id, for example ``emv.pattern``."""
    description: str
    """The rule in words."""
    met_by: Callable[[Any], object]
    """Returns something true if a value follows the rule."""


def text_requirements(row: Row, *, ascii_only: bool) -> tuple[Requirement, ...]:
    """Return the rules for a text: a string field's value, or an item of a list of strings.

    Args:
        row: The field.
        ascii_only: Whether the message's text must be ASCII; the row takes precedence.
    """
    found = [requirement for make in (_codes, _pattern, _format, _number) if (requirement := make(row))]
    if not row.array and (length := _length(row, "characters", len)):
        found.append(length)
    # Codes, patterns, formats and numbers are ASCII anyway.
    if ascii_only and not row.utf8 and all(requirement.rule == "emv.length" for requirement in found):
        found.append(_ASCII)
    return tuple(found)


def count_requirements(row: Row) -> tuple[Requirement, ...]:
    """Return the rules for the length of a list."""
    length = _length(row, "items", len)
    return (length,) if length else ()


def json_requirements(row: Row, *, ascii_only: bool) -> tuple[Requirement, ...]:
    """Return the rules for a ``json`` value, which apply to its compact text."""
    length = _length(row, "characters as JSON", lambda value: len(_compact(value)))
    found = [length] if length else []
    if ascii_only:
        found.append(Requirement("emv.ascii", "must be ASCII", lambda value: _compact(value).isascii()))
    return tuple(found)


def expand(codes: Iterable[str]) -> Iterator[str]:
    """Return every code of a list with ranges such as ``80-99``."""
    for code in codes:
        first, dash, last = code.partition("-")
        if dash and first.isdigit():
            yield from (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
        else:
            yield code


_ASCII = Requirement("emv.ascii", "must be ASCII", str.isascii)


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def _codes(row: Row) -> Requirement | None:
    if not row.codes:
        return None
    return Requirement("emv.code", f"must be one of {', '.join(row.codes)}", frozenset(expand(row.codes)).__contains__)


def _pattern(row: Row) -> Requirement | None:
    if not row.pattern:
        return None
    return Requirement("emv.pattern", f"must be {in_words(row.pattern)}", _matcher(row.pattern))


def _format(row: Row) -> Requirement | None:
    if not row.format:
        return None
    description, met_by = FORMATS[row.format]
    return Requirement(f"emv.format.{row.format}", f"must be {description}", met_by)


def _number(row: Row) -> Requirement | None:
    if row.range is None:
        return None
    minimum, maximum = row.range

    def within(value: str) -> bool:
        # The length first, because converting a million digits is slow.
        return len(value) <= len("10000000") and _digits(value) is not None and minimum <= int(value) <= maximum

    return Requirement("emv.range", f"must be a number from {minimum} to {maximum}", within)


def _length(row: Row, unit: str, measure: Callable[[Any], int]) -> Requirement | None:
    minimum, maximum = row.min, row.max
    if maximum is None:
        if not minimum:
            return None
        return Requirement(
            "emv.length", f"must have at least {minimum} {unit}", lambda value: measure(value) >= minimum
        )
    if minimum == maximum:
        text = f"must have {minimum} {unit}"
    elif minimum:
        text = f"must have {minimum} to {maximum} {unit}"
    else:
        text = f"must have at most {maximum} {unit}"
    return Requirement("emv.length", text, lambda value: minimum <= measure(value) <= maximum)


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.ASCII).fullmatch


_digits = re.compile("[0-9]+").fullmatch


def _time(length: int) -> Callable[[str], object]:
    parts = [slice(0, 4)] + [slice(start, start + 2) for start in range(4, length, 2)]
    clock = ("", "([01][0-9]|2[0-3])", "([01][0-9]|2[0-3])[0-5][0-9]", "([01][0-9]|2[0-3])([0-5][0-9]){2}")
    # Every month has 28 days; datetime checks the others.
    certain = _matcher("[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])" + clock[(length - 8) // 2])

    def met_by(value: str) -> bool:
        if certain(value):
            return True
        if len(value) != length or not _digits(value):
            return False
        try:
            datetime(*(int(value[part]) for part in parts))  # type: ignore[arg-type]  # noqa: DTZ001 - only a check
        except ValueError:
            return False
        return True

    return met_by


_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ipv4 = _matcher(rf"{_OCTET}(\.{_OCTET}){{3}}")


def _ip(value: str) -> bool:
    if _ipv4(value):
        return True
    try:
        IPv6Address(value)
    except ValueError:
        return False
    return "%" not in value  # zones are local to a machine


_NO_COUNTRY = range(901, 1000)
_NO_CURRENCY = frozenset({*range(955, 965), 999})


def _number_but(excluded: Iterable[int]) -> Callable[[str], object]:
    allowed = frozenset(f"{number:03}" for number in range(1000)) - {f"{number:03}" for number in excluded}
    return allowed.__contains__


_PLAIN = "-A-Za-z0-9._~!$&'()*+,;="
_ESCAPED = "%[0-9A-Fa-f]{2}"
# RFC 3986, without user information; possessive quantifiers, so that no input is slow.
_AFTER_SCHEME = (
    rf"://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?:[{_PLAIN}]++|{_ESCAPED})++)(?::[0-9]{{1,5}})?"
    rf"(?:/(?:[{_PLAIN}:@/]++|{_ESCAPED})*+)?(?:\?(?:[{_PLAIN}:@/?]++|{_ESCAPED})*+)?"
    rf"(?:#(?:[{_PLAIN}:@/?]++|{_ESCAPED})*+)?"
)
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def _url(scheme: str) -> Callable[[str], bool]:
    fullmatch = re.compile(f"(?i:{scheme}){_AFTER_SCHEME}", re.ASCII).fullmatch

    def met_by(value: str) -> bool:
        match = fullmatch(value)
        return match is not None and (match["ipv6"] is None or _ip(match["ipv6"]))

    return met_by


def _url_or_data(value: str) -> bool:
    return _https(value) or _data_url(value) is not None


_https = _url("https")
_data_url = re.compile(r"data:[\x21-\x7e]*", re.ASCII).fullmatch

FORMATS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "uuid": ("a UUID", _matcher(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")),
    "yymm": ("a month as YYMM", _matcher(r"[0-9]{2}(0[1-9]|1[0-2])")),
    "yyyymmdd": ("a day as YYYYMMDD", _time(8)),
    "yyyymmddhhmm": ("a time as YYYYMMDDHHMM", _time(12)),
    "yyyymmddhhmmss": ("a time as YYYYMMDDHHMMSS", _time(14)),
    "url": ("an absolute http or https URL", _url("https?")),
    "urlHttps": ("an absolute https URL", _https),
    "urlOrDataUrl": ("an absolute https URL or a data URL", _url_or_data),
    "ip": ("an IPv4 or IPv6 address", _ip),
    "email": ("an e-mail address", _matcher(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")),
    "countryCode": ("a numeric country code of ISO 3166-1; 901 to 999 are not allowed", _number_but(_NO_COUNTRY)),
    "currency": (
        "a numeric currency code of ISO 4217; 955 to 964 and 999 are not allowed",
        _number_but(_NO_CURRENCY),
    ),
    "currencyAlphabetic": ("a currency code of three letters (ISO 4217)", _matcher(r"[A-Z]{3}")),
    "iso3166-2": ("a subdivision code of ISO 3166-2, the part after the hyphen", _matcher(r"[A-Za-z0-9]{1,3}")),
    "validVersion": ("a protocol version such as 2.2.0", _matcher(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")),
    "base64url": ("base64url", _matcher(r"[A-Za-z0-9_-]+={0,2}")),
}
"""The formats that rows name: a description and a test of each. All of them are ASCII."""
