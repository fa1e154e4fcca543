"""The properties of a body and the limits of each, from messages of the contract and what is sent of them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from adapters.d1.openapi.exchanges import Property, text_limits
from gateway.validation.validator import Validation

__all__ = ["full_request", "properties"]

_Body: TypeAlias = Mapping[str, Any]
_Sent: TypeAlias = Callable[[Message], _Body]
"""Returns the body that the adapter sends of a request."""

_KINDS: Final = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}


def full_request(kind: type[Message]) -> Message:
    """Return a request with every field. Each text is its own path; of a choice, the last field is set."""
    request = kind()
    _fill(request, "")
    return request


def _fill(message: Message, prefix: str) -> None:
    for field in message.DESCRIPTOR.fields:
        path = prefix + field.name
        if field.message_type is not None:
            value = getattr(message, field.name)
            nested = value.add() if field.is_repeated else value
            _fill(nested, f"{path}.")
        elif field.enum_type is not None:
            setattr(message, field.name, field.enum_type.values[-1].number)
        else:
            setattr(message, field.name, path if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 1)


def properties(full: Message, sent: _Sent) -> Sequence[Property]:
    """Return the properties of the body that a full request becomes."""
    bodies = [sent(_without(full, path)) for path in _optional(full)]
    variants = [sent(each) for each in _variants(full)]
    return _properties(full.DESCRIPTOR, sent(full), bodies, variants)


def _properties(descriptor: Any, body: _Body, bodies: Sequence[_Body], variants: Sequence[_Body]) -> Sequence[Property]:
    found = []
    for name, value in body.items():
        item = value[0] if isinstance(value, list) else value
        limits: dict[str, Any] = {}
        if isinstance(item, dict):
            limits["children"] = _properties(descriptor, item, _inner(bodies, name), _inner(variants, name))
        elif isinstance(item, str):
            source = _source(descriptor, item)
            limits = (
                {"words": _values(variants, name)}
                if source is None
                else {**text_limits(source), "own_words": _values(bodies, name) - {item}}
            )
        always = all(name in each for each in bodies)
        found.append(Property(name=name, kind=_KINDS[type(value)], always=always, **limits))
    return found


def _values(bodies: Sequence[_Body], name: str) -> frozenset[str]:
    return frozenset(str(each[name]) for each in bodies if name in each)


def _inner(bodies: Sequence[_Body], name: str) -> Sequence[_Body]:
    inner = [each[name] for each in bodies if name in each]
    return [each[0] if isinstance(each, list) else each for each in inner]


def _source(descriptor: Any, value: Any) -> FieldDescriptor | None:
    """Return the field whose path a text is."""
    field = None
    for name in value.split(".") if isinstance(value, str) else ():
        field = None if descriptor is None else descriptor.fields_by_name.get(name)
        descriptor = None if field is None else field.message_type
    return field


def _paths(descriptor: Any, prefix: str = "") -> Iterator[str]:
    for field in descriptor.fields:
        yield prefix + field.name
        if field.message_type is not None:
            yield from _paths(field.message_type, f"{prefix}{field.name}.")


def _optional(full: Message) -> Iterator[str]:
    """Yield the paths of fields that the contract lets be empty."""
    validation = Validation()
    for path in _paths(full.DESCRIPTOR):
        message, field = _place(_without(full, path), path)
        names = {field.name, *([] if field.containing_oneof is None else [field.containing_oneof.name])}
        violations, _ = validation.violations(message)
        if names.isdisjoint(re.split(r"[.\[]", each.field)[0] for each in violations):
            yield path


def _place(message: Message, path: str) -> tuple[Message, Any]:
    """Return the message that a path leads to, and its field."""
    *parents, name = path.split(".")
    for parent in parents:
        value = getattr(message, parent)
        message = value if isinstance(value, Message) else value[0]
    return message, message.DESCRIPTOR.fields_by_name[name]


def _without(full: Message, path: str) -> Message:
    request = type(full)()
    request.CopyFrom(full)
    message, field = _place(request, path)
    message.ClearField(field.name)
    return request


def _variants(full: Message) -> Iterator[Message]:
    """Yield the request with each value of each enum."""
    for field in full.DESCRIPTOR.fields:
        for value in () if field.enum_type is None else field.enum_type.values:
            if value.number:
                request = type(full)()
                request.CopyFrom(full)
                setattr(request, field.name, value.number)
                yield request
