"""Checks of a single protobuf field, made from its row of the tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.emv.codes import codes_of
from gateway.emv.structs import struct_to_json, value_to_json
from gateway.emv.tables import CATEGORIES, CHANNELS, Row
from gateway.emv.values import Requirement, count_requirements, expand, json_requirements, text_requirements

__all__ = ["Fault", "FieldCheck", "MessageCheck", "Refusal", "Scene", "field_check"]


@dataclass(frozen=True, slots=True)
class Scene:
    """What decides which rules hold: codes of version, channel and category."""

    version: str
    channel: str
    category: str
    acs_dec_con_ind: str = ""
    """What the ARes said, for the RReq, which does not repeat it; empty if nothing."""

    @property
    def known(self) -> dict[str, str]:
        """What conditions ask of it."""
        return {"messageVersion": self.version, "deviceChannel": self.channel, "messageCategory": self.category}

    @property
    def place(self) -> str:
        """Channel and category as the tables call them."""
        return f"{CHANNELS[self.channel]}/{CATEGORIES[self.category]}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that is broken, and where: a path of proto names below the message that was checked."""

    path: str
    requirement: Requirement

    def inside(self, name: str) -> "Fault":
        """Return the same as seen from the message around, in which it stands in a field or list item."""
        between = "." if self.path and not self.path.startswith("[") else ""
        return Fault(f"{name}{between}{self.path}", self.requirement)


FieldCheck: TypeAlias = Callable[[Any], Sequence[Fault]]
"""Finds the faults of a field's value. Their paths are seen from the field."""


class MessageCheck(Protocol):
    """Finds the faults of a message."""

    def faults(self, message: Message) -> Iterable[Fault]:
        """Find them."""
        ...


class Refusal:
    """The check of a field that may not be there at all."""

    def __init__(self, requirement: Requirement) -> None:
        self._faults = (Fault("", requirement),)

    def __call__(self, value: object) -> Sequence[Fault]:
        """Refuse any value."""
        del value
        return self._faults


def field_check(field: FieldDescriptor, row: Row, inner: MessageCheck | None, *, ascii_only: bool) -> FieldCheck:
    """Make the check of a field.

    Args:
        field: The protobuf field.
        row: What the tables say of it.
        inner: The check of what it holds, if that is an object.
        ascii_only: Whether the message's text has to be ASCII.
    """
    one = _one(field, row, inner, ascii_only=ascii_only)
    if not field.is_repeated:
        return one
    counts = count_requirements(row) if row.array else (_SINGLE,)
    return _each(one, counts)


_SINGLE = Requirement("emv.single", "takes one item only in this version", lambda items: len(items) == 1)
_NUMBERS = Requirement("emv.json", "has to be JSON, which has no infinite numbers", bool)
_TEXT = Requirement("emv.type", "has to be a text in this version", bool)


def _one(field: FieldDescriptor, row: Row, inner: MessageCheck | None, *, ascii_only: bool) -> FieldCheck:
    if inner is not None:
        return lambda message: list(inner.faults(message))
    if field.enum_type is not None:
        return _enum(field, row)
    if field.message_type is not None:
        return _object(field.message_type.full_name, row, ascii_only=ascii_only)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _bool(row)
    return _text(text_requirements(row, ascii_only=ascii_only))


def _object(name: str, row: Row, *, ascii_only: bool) -> FieldCheck:
    """Check what the tables do not take apart: free JSON, or an object that is a text in this version."""
    if name == "google.protobuf.Struct":
        return _json(struct_to_json, json_requirements(row, ascii_only=ascii_only))
    text = text_requirements(row, ascii_only=ascii_only)
    if name != "google.protobuf.Value":
        return _bare_text(_text(text))
    if row.type == "json":
        return _json(value_to_json, json_requirements(row, ascii_only=ascii_only))
    return _text_value(_text(text))


def _text(requirements: Sequence[Requirement]) -> FieldCheck:
    tests = [(requirement.met_by, Fault("", requirement)) for requirement in requirements]
    if len(tests) == 1:
        # By far the most frequent case.
        ((met, fault),) = tests
        broken = (fault,)
        return lambda value: () if met(value) else broken
    return lambda value: [fault for met, fault in tests if not met(value)]


def _enum(field: FieldDescriptor, row: Row) -> FieldCheck:
    numbers = codes_of(field.enum_type).numbers
    codes = row.codes or tuple(numbers)
    allowed = frozenset(numbers[code] for code in expand(codes) if code in numbers)
    broken = (Fault("", Requirement("emv.code", f"has to be one of {', '.join(codes)}", bool)),)
    return lambda number: () if number in allowed else broken


def _bool(row: Row) -> FieldCheck:
    allowed = frozenset(row.codes or ("true", "false"))
    broken = (Fault("", Requirement("emv.code", f"has to be {' or '.join(row.codes)}", bool)),)
    return lambda value: () if ("true" if value else "false") in allowed else broken


def _json(read: Callable[[Any], Any], requirements: Sequence[Requirement]) -> FieldCheck:
    check = _text(requirements)

    def checked(value: Any) -> Sequence[Fault]:
        try:
            plain = read(value)
        except ValueError:
            return (Fault("", _NUMBERS),)
        return check(plain)

    return checked


def _text_value(check: FieldCheck) -> FieldCheck:
    return lambda value: check(value.string_value) if value.HasField("string_value") else (Fault("", _TEXT),)


def _bare_text(check: FieldCheck) -> FieldCheck:
    """Check an object that is a bare text in this version, which then stands in the object's field ``text``."""

    def checked(message: Any) -> Sequence[Fault]:
        beyond = [field.name for field, _ in message.ListFields() if field.name != "text"]
        return [*(Fault(name, _TEXT) for name in beyond), *(fault.inside("text") for fault in check(message.text))]

    return checked


def _each(one: FieldCheck, counts: Sequence[Requirement]) -> FieldCheck:
    def checked(items: Any) -> Sequence[Fault]:
        faults = [Fault("", requirement) for requirement in counts if not requirement.met_by(items)]
        for index, item in enumerate(items):
            faults.extend(fault.inside(f"[{index}]") for fault in one(item))
        return faults

    return checked
