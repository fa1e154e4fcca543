"""Readers of JSON fields; every error names the first invalid field."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import orjson

__all__ = [
    "InvalidFieldError",
    "InvalidFormatError",
    "InvalidValueError",
    "MalformedBodyError",
    "choice",
    "flag",
    "integer",
    "json_object",
    "optional_choice",
    "optional_text",
    "text",
]

_Word = TypeVar("_Word", bound=StrEnum)

_ANY_TEXT = re.compile(r"(?s).*")


class InvalidFieldError(Exception):
    """A field is invalid. Holds its name, never its value."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class InvalidFormatError(InvalidFieldError):
    """A field is missing, has the wrong type or does not match its pattern."""


class InvalidValueError(InvalidFieldError):
    """A field is well-formed, but its value is unknown or not allowed."""


class MalformedBodyError(Exception):
    """A body is not a JSON object."""


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; an empty body is an empty object.

    Raises:
        MalformedBodyError: The body is not a JSON object.
    """
    try:
        value = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        raise MalformedBodyError from None
    if not isinstance(value, dict):
        raise MalformedBodyError
    return value


def text(body: Mapping[str, Any], name: str, pattern: re.Pattern[str] = _ANY_TEXT) -> str:
    """Read a required string that must match the whole pattern.

    Raises:
        InvalidFormatError: The string is missing or does not match.
    """
    value = body.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidFormatError(name)
    return value


def optional_text(body: Mapping[str, Any], name: str, pattern: re.Pattern[str] = _ANY_TEXT) -> str | None:
    """Read an optional string that must match the pattern if present.

    Raises:
        InvalidFormatError: The string does not match.
    """
    return text(body, name, pattern) if name in body else None


def choice(body: Mapping[str, Any], name: str, words: type[_Word]) -> _Word:
    """Read a required enum value.

    Raises:
        InvalidFormatError: The field is missing or not a string.
        InvalidValueError: The value is not one of the enum.
    """
    value = text(body, name)
    try:
        return words(value)
    except ValueError:
        raise InvalidValueError(name) from None


def optional_choice(body: Mapping[str, Any], name: str, words: type[_Word]) -> _Word | None:
    """Read an optional enum value.

    Raises:
        InvalidFormatError: The field is not a string.
        InvalidValueError: The value is not one of the enum.
    """
    return choice(body, name, words) if name in body else None


def integer(body: Mapping[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    """Read an integer.

    Raises:
        InvalidFormatError: The field is present but not an integer.
        InvalidValueError: The value is out of range.
    """
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidFormatError(name)
    if not lowest <= value <= highest:
        raise InvalidValueError(name)
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Read a boolean; false if absent.

    Raises:
        InvalidFormatError: The field is not a boolean.
    """
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidFormatError(name)
    return value
