"""JSON as others write it, and as a contract's ``google.protobuf.Struct`` keeps it.

orjson reads nearly everything. What it refuses, or would round, is read again by the standard library, more slowly:

- whole numbers keep all their digits (RFC 8259 section 6 sets no limit), and a number that neither ``int`` nor
  ``float`` holds is a `HugeNumber`;
- half of a surrogate pair, as from a text that was cut, becomes U+FFFD (RFC 8259 section 8.2);
- a byte order mark is skipped (RFC 8259 section 8.1).

What is not JSON stays refused: trailing text, ``NaN``, control characters, bytes that are not UTF-8. Of a name that
occurs twice in an object, the last counts, as with most readers (RFC 8259 section 4).
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NoReturn

import orjson
from google.protobuf import struct_pb2

__all__ = [
    "MAX_LEVELS",
    "HugeNumber",
    "InvalidJsonError",
    "fill_struct",
    "read_object",
    "struct_of",
    "value_of",
    "without_nulls",
]

MAX_LEVELS: Final = 20
"""How deep objects and lists may nest, the outermost included. A Struct takes three nested messages for each level, and
protobuf's readers stop at a hundred."""

_MAX_INT_DIGITS: Final = 640
"""CPython converts so many, however it is configured (``sys.set_int_max_str_digits``)."""
_MAX_EXACT: Final = 2**53
"""A double holds every whole number up to this."""

_BRACKETS: Final = b"{["
_SHAPE: Final = bytes(ord("0") if byte in b"-0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 20
"""What a whole number beyond 64 bits is at least, once `_SHAPE` translates it: 20 digits, or a sign and 19."""

_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class InvalidJsonError(ValueError):
    """Data is not a JSON object, or nests too deep. The text completes "the body ...", and contains nothing of it."""


@dataclass(frozen=True, slots=True)
class HugeNumber:
    """A number of more digits or a larger exponent than Python's numbers hold."""

    text: str
    """The number as it was written."""


def read_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InvalidJsonError: The data is not a JSON object, or nests deeper than `MAX_LEVELS`.
    """
    shape = data.translate(_SHAPE, _BRACKETS)
    try:
        # orjson rounds whole numbers beyond 64 bits.
        value = _read_tolerantly(data) if _LONG_NUMBER in shape else orjson.loads(data)
    except orjson.JSONDecodeError:
        value = _read_tolerantly(data)
    if not isinstance(value, dict):
        raise InvalidJsonError("must be a JSON object")
    # With few brackets nothing nests deep, whatever the strings hold. That spares nearly every message the walk.
    if len(data) - len(shape) > MAX_LEVELS and _nests_too_deep(value):
        raise _too_deep()
    return value


def without_nulls(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without the members that are null: writers have null for what is absent."""
    return {name: value for name, value in plain.items() if value is not None}


def struct_of(plain: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return a JSON object as a new Struct, as `fill_struct` writes it."""
    struct = struct_pb2.Struct()
    fill_struct(struct, plain)
    return struct


def value_of(plain: Any) -> struct_pb2.Value:
    """Return a JSON value as a new Value, as `fill_struct` writes it."""
    value = struct_pb2.Value()
    _fill(value, plain)
    return value


def fill_struct(struct: struct_pb2.Struct, plain: Mapping[str, Any]) -> None:
    """Copy a JSON object into a Struct. A number that a double would change is kept as text, with all its digits.

    Such are whole numbers beyond 2**53, and numbers beyond the range of a double.
    """
    for name, value in plain.items():
        _fill(struct.fields[name], value)


def _fill(value: struct_pb2.Value, source: Any) -> None:
    match source:
        case None:
            value.null_value = struct_pb2.NULL_VALUE
        case bool():
            value.bool_value = source
        case str():
            value.string_value = source
        case int() if abs(source) > _MAX_EXACT:
            value.string_value = str(source)
        case int() | float():
            value.number_value = source
        case HugeNumber():
            value.string_value = source.text
        case list():
            # Set even if empty, so that the value stays a list.
            value.list_value.SetInParent()
            for item in source:
                _fill(value.list_value.values.add(), item)
        case _:
            value.struct_value.SetInParent()
            fill_struct(value.struct_value, source)


def _read_tolerantly(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
        return _DECODER.decode(_ESCAPE.sub(_without_lone_surrogate, text) if "\\u" in text else text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise InvalidJsonError("is not JSON") from None


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return escape[0] if escape["lone"] is None else r"\ufffd"


def _whole_number(text: str) -> int | HugeNumber:
    return int(text) if len(text) <= _MAX_INT_DIGITS else HugeNumber(text)


def _number(text: str) -> float | HugeNumber:
    number = float(text)
    return number if math.isfinite(number) else HugeNumber(text)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(parse_int=_whole_number, parse_float=_number, parse_constant=_reject_constant)


def _too_deep() -> InvalidJsonError:
    return InvalidJsonError(f"nests deeper than {MAX_LEVELS} levels")


def _nests_too_deep(value: Any) -> bool:
    inner: list[Any] = [value]
    for _ in range(MAX_LEVELS + 1):
        inner = [*chain.from_iterable(map(_members, inner))]
        if not inner:
            return False
    return True


def _members(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
