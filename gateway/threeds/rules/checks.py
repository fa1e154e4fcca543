"""Checks of a single protobuf field, built from its row of the tables."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.threeds.rules.codes import codes_of
from gateway.threeds.rules.formats import Requirement, count_requirements, json_requirements, text_requirements
from gateway.threeds.rules.structs import struct_to_json, value_to_json
from gateway.threeds.rules.tables import CATEGORIES, CHANNELS, Row

__all__ = ["Fault", "FieldCheck", "MessageCheck", "Profile", "field_check", "forbidden", "names", "one_of", "required"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What decides which rules apply: the codes of version, channel and category."""

    version: str
    channel: str
    category: str
    acs_dec_con_ind: str = ""
    """The value from the ARes, for the RReq, which does not repeat it; empty if none."""

    @property
    def known(self) -> dict[str, str]:
        """The fields with fixed values, for conditions."""
        return {"messageVersion": self.version, "deviceChannel": self.channel, "messageCategory": self.category}

    @property
    def name(self) -> str:
        """The channel and category, by their names in the tables."""
        return f"{self.channel_name}/{CATEGORIES.get(self.category, self.category)}"

    @property
    def channel_name(self) -> str:
        """The channel, by its name in the tables."""
        return CHANNELS.get(self.channel, self.channel)


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule, with a path of proto names below the checked message."""

    path: str
    requirement: Requirement

    def inside(self, name: str) -> "Fault":
        """Return the fault with a path from the enclosing field or list item."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        return Fault(f"{name}{separator}{self.path}", self.requirement)


@dataclass(frozen=True, slots=True)
class FieldCheck:
    """The check of a field's value. It has two steps, because nearly every value is valid."""

    met_by: Callable[[Any], object]
    """Returns something true if a value follows every rule."""
    faults: Callable[[Any], Sequence[Fault]]
    """Returns the rules that a value breaks, with paths below the field."""


class MessageCheck(Protocol):
    """The check of a message."""

    def met_by(self, message: Message) -> bool:
        """Return whether a message follows every rule."""
        ...

    def faults(self, message: Message) -> list[Fault]:
        """Return the rules that a message breaks."""
        ...


def names(field: FieldDescriptor, numbers: Collection[int]) -> list[str]:
    """Return the names of an enum field's values that have one of some numbers."""
    values = () if field.enum_type is None else field.enum_type.values
    return [value.name for value in values if value.number in numbers]


def one_of(choices: Sequence[str]) -> Requirement:
    """Return the rule that an enum has one of some values."""
    return Requirement("emv.code", f"must be one of {', '.join(choices)}", bool)


def required(value: Requirement | None = None) -> Requirement:
    """Return the rule that a field is there, and, if given, which rule its value has to follow."""
    what = "" if value is None else value.description.removeprefix("must be ").removeprefix("must have ")
    return Requirement("emv.required", f"is required: {what}" if what else "is required", bool)


def forbidden(requirement: Requirement) -> FieldCheck:
    """Return the check of a field that must be absent."""
    faults = (Fault("", requirement),)
    return FieldCheck(lambda _: False, lambda _: faults)


def field_check(field: FieldDescriptor, row: Row, inner: MessageCheck | None, *, ascii_only: bool) -> FieldCheck:
    """Return the check of a field.

    Args:
        field: The protobuf field.
        row: The field's row of the tables.
        inner: The check of the field's object, if it is one.
        ascii_only: Whether the message's text must be ASCII.
    """
    one = _one(field, row, inner, ascii_only=ascii_only)
    if not field.is_repeated:
        return one
    return _each(one, count_requirements(row) if row.array else (_SINGLE,))


_SINGLE = Requirement("emv.single", "must have exactly one item in this version", lambda items: len(items) == 1)
_NUMBERS = Requirement("emv.json", "must be JSON, without infinite numbers", bool)
_TEXT = Requirement("emv.type", "must be a text in this version", bool)


def _one(field: FieldDescriptor, row: Row, inner: MessageCheck | None, *, ascii_only: bool) -> FieldCheck:
    if inner is not None:
        return FieldCheck(inner.met_by, inner.faults)
    if field.enum_type is not None:
        return _enum(field, row)
    if field.message_type is not None:
        return _object(field.message_type.full_name, row, ascii_only=ascii_only)
    if field.type == FieldDescriptor.TYPE_BOOL:
        allowed = frozenset(code == "true" for code in row.codes or ("true", "false"))
        return _in_set(allowed, Requirement("emv.code", f"must be {' or '.join(row.codes)}", bool))
    return _text(text_requirements(row, ascii_only=ascii_only))


def _object(name: str, row: Row, *, ascii_only: bool) -> FieldCheck:
    """Check what the tables do not describe: free JSON, or an object that is a text in this version."""
    if name == "google.protobuf.Struct":
        return _json(struct_to_json, json_requirements(row, ascii_only=ascii_only))
    text = _text(text_requirements(row, ascii_only=ascii_only))
    if name != "google.protobuf.Value":
        return _bare_text(text)
    if row.type == "json":
        return _json(value_to_json, json_requirements(row, ascii_only=ascii_only))
    return _text_value(text)


def _in_set(allowed: frozenset[Any], requirement: Requirement) -> FieldCheck:
    faults = (Fault("", requirement),)
    return FieldCheck(allowed.__contains__, lambda _: faults)


def _enum(field: FieldDescriptor, row: Row) -> FieldCheck:
    numbers = codes_of(field.enum_type).numbers
    requirements = text_requirements(row, ascii_only=False)
    codes = [code for code in numbers if all(requirement.met_by(code) for requirement in requirements)]
    allowed = frozenset(numbers[code] for code in codes)
    return _in_set(allowed, one_of(names(field, allowed)))


def _text(requirements: Sequence[Requirement]) -> FieldCheck:
    def faults(value: Any) -> Sequence[Fault]:
        return [Fault("", requirement) for requirement in requirements if not requirement.met_by(value)]

    tests = [requirement.met_by for requirement in requirements]
    return FieldCheck(reduce(_both, tests) if tests else _anything, faults)


def _anything(value: object) -> bool:
    del value
    return True


def _both(first: Callable[[Any], object], second: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: first(value) and second(value)


def _in_one_step(faults: Callable[[Any], Sequence[Fault]]) -> FieldCheck:
    return FieldCheck(lambda value: not faults(value), faults)


def _json(read: Callable[[Any], Any], requirements: Sequence[Requirement]) -> FieldCheck:
    check = _text(requirements)

    def faults(value: Any) -> Sequence[Fault]:
        try:
            plain = read(value)
        except ValueError:
            return (Fault("", _NUMBERS),)
        return check.faults(plain)

    return _in_one_step(faults)


def _text_value(text: FieldCheck) -> FieldCheck:
    def faults(value: Any) -> Sequence[Fault]:
        return text.faults(value.string_value) if value.HasField("string_value") else (Fault("", _TEXT),)

    return _in_one_step(faults)


def _bare_text(text: FieldCheck) -> FieldCheck:
    """Check an object that is a bare text in this version, held in the object's field ``text``."""

    def faults(message: Any) -> Sequence[Fault]:
        others = [field.name for field, _ in message.ListFields() if field.name != "text"]
        return [
            *(Fault(name, _TEXT) for name in others),
            *(fault.inside("text") for fault in text.faults(message.text)),
        ]

    return _in_one_step(faults)


def _each(one: FieldCheck, counts: Sequence[Requirement]) -> FieldCheck:
    # Loops, because generators cost more than most of the tests in them.
    def met_by(items: Any) -> bool:
        for count in counts:
            if not count.met_by(items):
                return False
        for item in items:  # noqa: SIM110 (all() needs a generator, see above)
            if not one.met_by(item):
                return False
        return True

    def faults(items: Any) -> Sequence[Fault]:
        found = [Fault("", count) for count in counts if not count.met_by(items)]
        for index, item in enumerate(items):
            found.extend(fault.inside(f"[{index}]") for fault in one.faults(item))
        return found

    return FieldCheck(met_by, faults)
