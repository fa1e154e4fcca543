"""Translates EMV 3DS messages between protobuf and JSON, driven by descriptors and rule tables.

A field's JSON name is its ``json_name``, an enum value's code is an option of the value, and where versions differ in a
field's form (one object or a list, a text or an object) the tables say which. A text ``x_text`` beside an enum ``x``
has the codes that the enum lacks, under the enum's JSON name. Data beyond the contract is kept in ``unrecognized`` and
written back from there. Readers and writers are compiled once per kind of message and version.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.formats.json_input import struct_of, value_of
from gateway.threeds.rules.codes import Codes, codes_of, enum_beside
from gateway.threeds.rules.structs import struct_to_json, value_to_json
from gateway.threeds.rules.tables import MESSAGES, Row, objects, table

__all__ = ["UnreadableError", "UnwritableError", "decode", "encode", "to_body"]

M = TypeVar("M", bound=Message)

_Write: TypeAlias = Callable[[Any], Any]
_Read: TypeAlias = Callable[[Any], Any]

_UNREADABLE: Final = object()
"""Result of a reader for a value that its field cannot hold."""

_UNRECOGNIZED = "unrecognized"
_TYPE = "messageType"


class UnwritableError(ValueError):
    """The protocol version cannot hold the message. The text names the field, never its value."""


class UnreadableError(ValueError):
    """The message cannot hold the JSON object, and has no ``unrecognized``."""


def encode(message: Message, version: str) -> dict[str, Any]:
    """Write a message as a JSON object of a protocol version, ``messageType`` included.

    Args:
        message: An AReq, ARes, CRD, Erro or RReq, or an object in one of them.
        version: The protocol version, for example ``2.2.0``.

    Raises:
        UnwritableError: The version lacks a field of the message, or allows one item where there are several.
    """
    return _writer(message.DESCRIPTOR, version).write(message)


def to_body(message: Message, version: str) -> bytes:
    """Write a message as the body of a request: JSON in ASCII.

    Raises:
        UnwritableError: As in `encode`.
    """
    plain = encode(message, version)
    body = orjson.dumps(plain)
    return body if body.isascii() else json.dumps(plain, separators=(",", ":")).encode()


def decode(kind: type[M], data: Mapping[str, Any]) -> M:
    """Read a message from a JSON object of any version, without losing data.

    An empty text or list, or null, counts as absent. Data beyond the contract goes to ``unrecognized`` as received.

    Args:
        kind: The message's class.
        data: The JSON object.

    Raises:
        UnreadableError: The object holds more than an AReq may, which has no ``unrecognized``.
    """
    message = _reader(kind.DESCRIPTOR).read(data)
    if not isinstance(message, kind):
        raise UnreadableError(f"a field that {kind.DESCRIPTOR.name} does not have, or of another JSON type")
    return message


class _Writer:
    """Writes one kind of message for one version."""

    def __init__(self, descriptor: Descriptor, version: str) -> None:
        rules = table(descriptor.name) if descriptor.name in MESSAGES else objects()[descriptor.name]
        rows = rules.fields(version)
        self._constant = {_TYPE: descriptor.name} if descriptor.name in MESSAGES else {}
        self._fields: dict[FieldDescriptor, tuple[str, _Write | None]] = {}
        for field in descriptor.fields:
            name = (enum_beside(field) or field).json_name
            row = rows.get(name)
            if row is not None:
                self._fields[field] = (name, _field_writer(field, row, version))
            elif field.name != _UNRECOGNIZED:
                self._fields[field] = (
                    field.json_name,
                    _forbidden(f"{field.name} does not exist in version {version}"),
                )

    def write(self, message: Message) -> dict[str, Any]:
        fields = self._fields
        written: dict[str, Any] = self._constant.copy()
        for field, value in message.ListFields():
            entry = fields.get(field)
            if entry is None:
                written.update(struct_to_json(value))
                continue
            name, write = entry
            written[name] = value if write is None else write(value)
        return written


@cache
def _writer(descriptor: Descriptor, version: str) -> _Writer:
    return _Writer(descriptor, version)


def _field_writer(field: FieldDescriptor, row: Row, version: str) -> _Write | None:
    """Return the writer of a field's value; None if the value is its own JSON."""
    one = _value_writer(field, row, version)
    if not field.is_repeated:
        return one
    if row.array:
        return list if one is None else lambda items: [one(item) for item in items]
    return _single(one, f"{field.name} has a single item in version {version}")


def _value_writer(field: FieldDescriptor, row: Row, version: str) -> _Write | None:
    if field.enum_type is not None:
        return _code(codes_of(field.enum_type), f"{field.name} has a value without a code")
    if field.message_type is None:
        return None
    if field.message_type.full_name == "google.protobuf.Struct":
        return struct_to_json
    if field.message_type.full_name == "google.protobuf.Value":
        return value_to_json
    if row.type == "string":
        return _text_of(f"{field.name} has only a text in version {version}")
    return _writer(field.message_type, version).write


def _code(codes: Codes, error: str) -> _Write:
    def write(number: int) -> str:
        code = codes.by_number.get(number)
        if code is None:
            raise UnwritableError(error)
        return code

    return write


def _single(one: _Write | None, error: str) -> _Write:
    def write(items: Any) -> Any:
        if len(items) > 1:
            raise UnwritableError(error)
        return items[0] if one is None else one(items[0])

    return write


def _text_of(error: str) -> _Write:
    """Return the writer of an object that is a bare text in this version; the object has it in its field ``text``."""

    def write(message: Any) -> str:
        if any(field.name != "text" for field, _ in message.ListFields()):
            raise UnwritableError(error)
        return str(message.text)

    return write


def _forbidden(error: str) -> _Write:
    def write(value: object) -> Any:
        del value
        raise UnwritableError(error)

    return write


class _Reader:
    """Reads one kind of message."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._kind: type[Any] = message_factory.GetMessageClass(descriptor)
        self._type = descriptor.name if descriptor.name in MESSAGES else None
        self._keeps_rest = _UNRECOGNIZED in descriptor.fields_by_name
        self._fields: dict[str, tuple[str, _Read]] = {
            field.json_name: (field.name, _field_reader(field))
            for field in descriptor.fields
            if field.name != _UNRECOGNIZED
        }
        texts = [(field, beside) for field in descriptor.fields if (beside := enum_beside(field)) is not None]
        self._texts = {beside.json_name: field.name for field, beside in texts}

    def read(self, data: Mapping[str, Any]) -> Any:
        fields = self._fields
        values: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in data.items():
            entry = fields.get(name)
            if entry is None:
                if name != _TYPE or value != self._type:
                    rest[name] = value
                continue
            if value is None:
                continue
            attribute, read = entry
            result = read(value)
            if result is _UNREADABLE:
                text = self._texts.get(name) if isinstance(value, str) else None
                if text is None:
                    rest[name] = value
                else:
                    values[text] = value
            else:
                values[attribute] = result
        if rest:
            if not self._keeps_rest:
                return _UNREADABLE
            values[_UNRECOGNIZED] = struct_of(rest)
        return self._kind(**values)


@cache
def _reader(descriptor: Descriptor) -> _Reader:
    return _Reader(descriptor)


def _field_reader(field: FieldDescriptor) -> _Read:
    one = _value_reader(field)
    return _list_of(one) if field.is_repeated else one


def _list_of(one: _Read) -> _Read:
    def read(value: Any) -> Any:
        # A version with a single item writes it without a list.
        items = [one(item) for item in (value if isinstance(value, list) else [value])]
        return _UNREADABLE if any(item is _UNREADABLE for item in items) else items

    return read


def _value_reader(field: FieldDescriptor) -> _Read:
    if field.enum_type is not None:
        numbers = codes_of(field.enum_type).numbers
        return lambda value: numbers.get(value, _UNREADABLE) if isinstance(value, str) else _UNREADABLE
    if field.message_type is not None:
        return _message_reader(field.message_type)
    kind = bool if field.type == FieldDescriptor.TYPE_BOOL else str
    return lambda value: value if isinstance(value, kind) else _UNREADABLE


def _message_reader(inner: Descriptor) -> _Read:
    if inner.full_name == "google.protobuf.Struct":
        return lambda value: struct_of(value) if isinstance(value, dict) else _UNREADABLE
    if inner.full_name == "google.protobuf.Value":
        return value_of
    nested = _reader(inner)
    # A bare text in some versions, see `_text_of`.
    may_be_text = "text" in inner.fields_by_name

    def read(value: Any) -> Any:
        if may_be_text and isinstance(value, str):
            return nested.read({"text": value})
        return nested.read(value) if isinstance(value, dict) else _UNREADABLE

    return read
