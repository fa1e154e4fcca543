"""Translates EMV 3DS messages between protobuf and JSON, driven by their descriptors and the rule tables.

A field's JSON name is its ``json_name``, an enum's code is an option of its value, and where versions write a field in
different ways (one object or a list, a text or an object) the tables say which. What an answer holds beyond the
contract is kept in ``unrecognized`` and written back from there. Plans are made once per kind of message and version.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.threeds.rules.codes import Codes, codes_of
from gateway.threeds.rules.structs import struct_from_json, struct_to_json, value_from_json, value_to_json
from gateway.threeds.rules.tables import MESSAGES, Row, objects, table

__all__ = ["UnreadableError", "UnwritableError", "decode", "encode", "to_body"]

M = TypeVar("M", bound=Message)

_Write: TypeAlias = Callable[[Any], Any]
_Read: TypeAlias = Callable[[Any], Any]

_UNREADABLE: Final = object()
"""What a reader returns for a value that its field cannot hold."""

_UNRECOGNIZED = "unrecognized"
_TYPE = "messageType"


class UnwritableError(ValueError):
    """A message has something that its version does not have; names the field, never its value."""


class UnreadableError(ValueError):
    """A JSON object holds something that the message has no place for, and no ``unrecognized`` either."""


def encode(message: Message, version: str) -> dict[str, Any]:
    """Write a message as a JSON object of a protocol version, ``messageType`` included.

    Args:
        message: An AReq, ARes, CRD, Erro or RReq, or an object in one of them.
        version: The protocol version, for example ``2.2.0``.

    Raises:
        UnwritableError: It has a field that the version does not have, or several items where the version has one.
    """
    return _writer(message.DESCRIPTOR, version).write(message)


def to_body(message: Message, version: str) -> bytes:
    """Write a message as the body of a request: JSON in ASCII, whatever its texts hold.

    Raises:
        UnwritableError: As `encode`.
    """
    plain = encode(message, version)
    body = orjson.dumps(plain)
    return body if body.isascii() else json.dumps(plain, separators=(",", ":")).encode()


def decode(kind: type[M], data: Mapping[str, Any]) -> M:
    """Read a message from a JSON object of any version. Whatever an answer holds, nothing is lost.

    An empty text or list counts as absent. What the contract has no place for goes to ``unrecognized``, as it came.

    Args:
        kind: The message's class.
        data: The JSON object.

    Raises:
        UnreadableError: It is no answer but an AReq, which has no ``unrecognized``, and holds more than an AReq may.
    """
    message = _reader(kind.DESCRIPTOR).read(data)
    if not isinstance(message, kind):
        raise UnreadableError(f"a field that {kind.DESCRIPTOR.name} does not have, or of another JSON type")
    return message


class _Writer:
    """Writes one kind of message in one version."""

    def __init__(self, descriptor: Descriptor, version: str) -> None:
        rules = table(descriptor.name) if descriptor.name in MESSAGES else objects()[descriptor.name]
        rows = rules.fields(version)
        self._constant = {_TYPE: descriptor.name} if descriptor.name in MESSAGES else {}
        self._fields: dict[FieldDescriptor, tuple[str, _Write | None]] = {}
        for field in descriptor.fields:
            row = rows.get(field.json_name)
            if row is not None:
                self._fields[field] = (field.json_name, _field_writer(field, row, version))
            elif field.name != _UNRECOGNIZED:
                self._fields[field] = (
                    field.json_name,
                    _refuse(f"{field.name} is no field of version {version}"),
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
    """Make what writes a field's value; None where the value is its own JSON."""
    one = _value_writer(field, row, version)
    if not field.is_repeated:
        return one
    if row.array:
        return list if one is None else lambda items: [one(item) for item in items]
    return _single(one, f"{field.name} has one item only in version {version}")


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
        return _text_of(f"{field.name} has a text only in version {version}")
    return _writer(field.message_type, version).write


def _code(codes: Codes, refusal: str) -> _Write:
    def write(number: int) -> str:
        code = codes.by_number.get(number)
        if code is None:
            raise UnwritableError(refusal)
        return code

    return write


def _single(one: _Write | None, refusal: str) -> _Write:
    def write(items: Any) -> Any:
        if len(items) > 1:
            raise UnwritableError(refusal)
        return items[0] if one is None else one(items[0])

    return write


def _text_of(refusal: str) -> _Write:
    """Write an object that is a bare text in this version, which stands in the object's field ``text``."""

    def write(message: Any) -> str:
        if any(field.name != "text" for field, _ in message.ListFields()):
            raise UnwritableError(refusal)
        return str(message.text)

    return write


def _refuse(refusal: str) -> _Write:
    def write(value: object) -> Any:
        del value
        raise UnwritableError(refusal)

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
            attribute, read = entry
            held = read(value)
            if held is _UNREADABLE:
                rest[name] = value
            else:
                values[attribute] = held
        if rest:
            if not self._keeps_rest:
                return _UNREADABLE
            values[_UNRECOGNIZED] = struct_from_json(rest)
        return self._kind(**values)


@cache
def _reader(descriptor: Descriptor) -> _Reader:
    return _Reader(descriptor)


def _field_reader(field: FieldDescriptor) -> _Read:
    one = _value_reader(field)
    return _list_of(one) if field.is_repeated else one


def _list_of(one: _Read) -> _Read:
    def read(value: Any) -> Any:
        # A version that has one item writes it without a list.
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
        return lambda value: struct_from_json(value) if isinstance(value, dict) else _UNREADABLE
    if inner.full_name == "google.protobuf.Value":
        return value_from_json
    nested = _reader(inner)
    # In some versions a bare text, see `_text_of`.
    may_be_text = "text" in inner.fields_by_name

    def read(value: Any) -> Any:
        if may_be_text and isinstance(value, str):
            return nested.read({"text": value})
        return nested.read(value) if isinstance(value, dict) else _UNREADABLE

    return read
