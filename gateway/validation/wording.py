"""Violations of the contract's annotations in words: that a field is required, or what it must be.

The words come from the rule and the field's descriptor, never from the field's value.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from protovalidate import Violation

from gateway.errors import FieldViolation
from gateway.formats.patterns import in_words
from gateway.validation.annotations import field_rules

__all__ = ["field_violation"]

_TEXTS: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "string.len": lambda length: f"must be exactly {length} characters",
        "string.min_len": lambda length: f"must be at least {length} character{_plural(length)}",
        "string.max_len": lambda length: f"must be at most {length} characters",
        "string.pattern": lambda pattern: f"must be {in_words(pattern)}",
        "string.in": lambda texts: f"must be one of {', '.join(texts)}",
        "string.uuid": lambda _: "must be a UUID",
        "string.uuid_empty": lambda _: "must be a UUID",
        "string.email": lambda _: "must be an e-mail address",
        "string.uri": lambda _: "must be a URI with its scheme",
        "repeated.min_items": lambda count: f"must be at least {count} item{_plural(count)}",
        "repeated.max_items": lambda count: f"must be at most {count} items",
        "repeated.unique": lambda _: "must not have an item twice",
    }
)
"""The text of a rule, from the rule's value. Other rules keep protovalidate's text, or their author's."""

_SHORTER: Final = (
    (re.compile(r"greater than or equal to (\S+) and less than or equal to (\S+)"), r"\1 to \2"),
    (re.compile(r"less than or equal to"), "at most"),
    (re.compile(r"greater than or equal to"), "at least"),
)
"""How protovalidate's texts of ranges are said here."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a violation."""

    path: str
    """The path of the field in proto names; empty for the message as a whole."""
    field: FieldDescriptor | None = None
    oneof: OneofDescriptor | None = None
    is_item: bool = False
    """Whether it is an item of a list."""


def field_violation(violation: Violation, message: Message) -> FieldViolation:
    """Describe a violation.

    Args:
        violation: The violation.
        message: The message that it was found in.
    """
    place = _place(violation, message)
    return FieldViolation(place.path, _description(violation, place), violation.proto.rule_id)


def _place(violation: Violation, message: Message) -> _Place:
    path = violation.proto.field
    place = _Place("")
    kind: Any = message.DESCRIPTOR
    for element in () if path is None else path.elements:
        name, subscript = element.field_name, element.subscript
        is_item = subscript is not None and subscript.field == "index"
        index = f"[{subscript.value}]" if subscript is not None and is_item else ""
        field = None if kind is None else kind.fields_by_name.get(name)
        place = _Place(
            f"{place.path}.{name}{index}".removeprefix("."),
            field,
            None if kind is None else kind.oneofs_by_name.get(name),
            is_item,
        )
        kind = None if field is None else field.message_type
    return place


def _description(violation: Violation, place: _Place) -> str:
    field = place.field
    if place.oneof is not None:
        return f"is required: one of {', '.join(each.name for each in place.oneof.fields)}"
    if violation.proto.rule_id == "required":
        return _required(field)
    text = _text(violation, field)
    if field is None or violation.field_value or (place.is_item and field.enum_type is not None):
        return text
    is_unset = not (place.is_item or field.has_presence)
    return f"{'is required' if is_unset else 'must not be empty'}: {text.removeprefix('must be ')}"


def _required(field: FieldDescriptor | None) -> str:
    what = ""
    if field is not None and field.enum_type is not None:
        what = f"one of {', '.join(_names(field))}"
    elif field is not None and (pattern := field_rules(field).string.pattern):
        what = in_words(pattern)
    return f"is required: {what}" if what else "is required"


def _text(violation: Violation, field: FieldDescriptor | None) -> str:
    rule = violation.proto.rule_id
    if field is not None and field.enum_type is not None:
        if rule.startswith("enum."):
            return f"must be one of {', '.join(_names(field))}"
        if rule == "repeated.min_items":
            return f"must be at least {violation.rule_value} of {', '.join(_names(field))}"
    if rule in _TEXTS:
        return _TEXTS[rule](violation.rule_value)
    text = violation.proto.message
    for wordy, short in _SHORTER:
        text = wordy.sub(short, text)
    return text


def _names(field: FieldDescriptor) -> Sequence[str]:
    """Return the names of the values to choose from. Outside of lists, zero is no choice: it is an unset field."""
    rules = field_rules(field)
    enum = rules.repeated.items.enum if field.is_repeated else rules.enum
    allowed = getattr(enum, "in")
    return [
        value.name
        for value in ([] if field.enum_type is None else field.enum_type.values)
        if value.number not in enum.not_in
        and (not allowed or value.number in allowed)
        and (value.number or field.is_repeated)
    ]


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
