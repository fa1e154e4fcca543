"""Requests from JSON. A mistake names its place and what belongs there, and never repeats the value."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from d1_gateway_client.cli.output import refused

__all__ = ["UnusableRequestError", "parse", "read_json"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_WELL_KNOWN = "google.protobuf."
_TEXTS = {
    "google.protobuf.Timestamp": "a time such as 2026-01-31T12:00:00Z",
    "google.protobuf.Duration": "a duration such as 1.5s",
}
_SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
}


class UnusableRequestError(Exception):
    """The JSON cannot be read, or does not fit the request; ``mistakes`` has one line for each mistake."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def parse(data: bytes, request: Descriptor) -> Message:
    """Read a request from proto3 JSON, with field names as in the contract or as in JSON.

    Args:
        data: The JSON, UTF-8.
        request: The request's type.

    Raises:
        UnusableRequestError: It is not JSON, or a field is unknown, appears twice or has a value of the wrong type.
    """
    value = _read(data)
    if not isinstance(value, dict):
        raise UnusableRequestError("the request must be one JSON object")
    if (message := _message(value, request)) is not None:
        return message
    raise UnusableRequestError(*(_mistakes(value, request, "") or [f"does not fit {request.name}"]))


def read_json(option: str, source: str) -> bytes:
    """Read the value of an option that takes JSON from a file, or from standard input.

    Raises:
        typer.Exit: It cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        # JSON in place of a file may hold card data, and is not repeated.
        if source.lstrip().startswith("{") or not isinstance(error, OSError):
            raise refused(
                f"{option}: expected a file, or - for standard input: other users can see the command line"
            ) from None
        what = "standard input" if source == "-" else source
        raise refused(f"{option}: {what}: {os.strerror(error.errno or errno.EIO)}") from None


def _read(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UnusableRequestError(f"not JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except UnicodeDecodeError:
        raise UnusableRequestError("not JSON: not UTF-8") from None
    except (ValueError, RecursionError):
        raise UnusableRequestError("unreadable JSON: nested too deeply, or a number with too many digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise UnusableRequestError("a name appears twice in one object")
    return value


def _message(value: dict[str, Any], kind: Descriptor) -> Message | None:
    try:
        return json_format.ParseDict(value, GetMessageClass(kind)())
    except (json_format.ParseError, ValueError, TypeError, RecursionError):
        # The error's text quotes the value.
        return None


def _mistakes(value: dict[str, Any], kind: Descriptor, place: str) -> list[str]:
    """Find the fields that do not fit, each on its own, and those that exclude one another."""
    fields = {name: field for field in kind.fields for name in (field.name, field.json_name)}
    found = _conflicts(value, fields, place)
    for name, each in value.items():
        field = fields.get(name)
        if field is None:
            found.append(f"{place}{_shown(name)}: unknown field{_nearest(name, fields)}")
        elif _message({name: each}, kind) is None:
            found += _inner(each, field, f"{place}{name}") or [f"{place}{name}: must be {_expected(field)}"]
    return found


def _conflicts(value: dict[str, Any], fields: dict[str, FieldDescriptor], place: str) -> list[str]:
    """Find the members of a oneof of which there are several."""
    groups: dict[str, list[str]] = {}
    for name, each in value.items():
        field = fields.get(name)
        if field is not None and field.containing_oneof is not None and each is not None:
            groups.setdefault(field.containing_oneof.name, []).append(f"{place}{name}")
    return [f"{', '.join(names)}: must be only one of them" for names in groups.values() if len(names) > 1]


def _inner(value: Any, field: FieldDescriptor, place: str) -> list[str]:
    kind = field.message_type
    if kind is None or kind.GetOptions().map_entry or kind.full_name.startswith(_WELL_KNOWN):
        return []
    return [
        mistake
        for at, each in _elements(value, field, place)
        if isinstance(each, dict)
        for mistake in _mistakes(each, kind, f"{at}.")
    ]


def _elements(value: Any, field: FieldDescriptor, place: str) -> Iterator[tuple[str, Any]]:
    if not field.is_repeated:
        yield place, value
    elif isinstance(value, list):
        yield from ((f"{place}[{index}]", each) for index, each in enumerate(value))


def _expected(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        # Zero stands for an unset field; in a list it may have a meaning.
        names = [value.name for value in field.enum_type.values if value.number or field.is_repeated]
        expected = f"one of {', '.join(names)}"
    elif field.message_type is not None:
        expected = _TEXTS.get(field.message_type.full_name, "an object")
    elif field.type == FieldDescriptor.TYPE_BYTES:
        expected = "base64 text"
    else:
        expected = _SCALARS.get(field.cpp_type, "a number in range")
    return f"a list, each {expected}" if field.is_repeated else expected


def _shown(name: str) -> str:
    """Show a name, unless it cannot be one: it may then be card data."""
    return name if _NAME.fullmatch(name) else "(no name)"


def _nearest(name: str, fields: dict[str, FieldDescriptor]) -> str:
    near = get_close_matches(name, fields, n=1)
    return f"; did you mean {near[0]}?" if near else ""
