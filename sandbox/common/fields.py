"""Reading the fields of a JSON object, with the name of the first wrong one in every refusal."""

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
    """A field is wrong. Holds its name, never its value."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class InvalidFormatError(InvalidFieldError):
    """A field is missing, of the wrong type, or does not have its form."""


class InvalidValueError(InvalidFieldError):
    """A field has its form, but a value that is not known or not allowed."""


class MalformedBodyError(Exception):
    """A body is not a JSON object."""


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; nothing at all is an empty one.

    Raises:
        MalformedBodyError: It is something else.
    """
    try:
        value = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        raise MalformedBodyError from None
    if not isinstance(value, dict):
        raise MalformedBodyError
    return value


def text(body: Mapping[str, Any], name: str, pattern: re.Pattern[str] = _ANY_TEXT) -> str:
    """Read a string that has to be there and to match as a whole.

    Raises:
        InvalidFormatError: It is not there or does not.
    """
    value = body.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidFormatError(name)
    return value


def optional_text(body: Mapping[str, Any], name: str, pattern: re.Pattern[str] = _ANY_TEXT) -> str | None:
    """Read a string that has to match if it is there.

    Raises:
        InvalidFormatError: It does not.
    """
    return text(body, name, pattern) if name in body else None


def choice(body: Mapping[str, Any], name: str, words: type[_Word]) -> _Word:
    """Read one of a set of words that has to be there.

    Raises:
        InvalidFormatError: It is not there or no string.
        InvalidValueError: It is another word.
    """
    value = text(body, name)
    try:
        return words(value)
    except ValueError:
        raise InvalidValueError(name) from None


def optional_choice(body: Mapping[str, Any], name: str, words: type[_Word]) -> _Word | None:
    """Read one of a set of words, if it is there.

    Raises:
        InvalidFormatError: It is no string.
        InvalidValueError: It is another word.
    """
    return choice(body, name, words) if name in body else None


def integer(body: Mapping[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    """Read a whole number.

    Raises:
        InvalidFormatError: It is there, but no whole number.
        InvalidValueError: It is out of bounds.
    """
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidFormatError(name)
    if not lowest <= value <= highest:
        raise InvalidValueError(name)
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Read true or false; false if it is not there.

    Raises:
        InvalidFormatError: It is neither.
    """
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidFormatError(name)
    return value
