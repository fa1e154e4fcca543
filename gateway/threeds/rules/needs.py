"""Fields that are required under a condition, and what a mistake in the condition's own fields leaves open."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.threeds.rules.codes import codes_of
from gateway.threeds.rules.conditions import Condition, Getter, may_hold, names_in
from gateway.threeds.rules.formats import Requirement
from gateway.threeds.rules.tables import Row

__all__ = ["Need", "getter", "need"]


@dataclass(frozen=True, slots=True)
class Need:
    """Why a field is required."""

    requirement: Requirement
    condition: Condition
    known: Mapping[str, str]
    getters: Mapping[str, Getter]
    places: Mapping[str, frozenset[str]]
    """The paths of faults that leave a tested field's value open, by its EMV name."""

    def is_open(self, message: Message, wrong: Collection[str]) -> bool:
        """Return whether the field may be required once the fields at some paths are right."""
        unknown = [name for name, places in self.places.items() if not places.isdisjoint(wrong)]
        if not unknown:
            return False
        values = {name: get(message) for name, get in self.getters.items()}
        return may_hold(self.condition, {**values, **self.known}, unknown)


def need(descriptor: Descriptor, row: Row, condition: Condition, known: Mapping[str, str]) -> Need:
    """Return why a field is required.

    Args:
        descriptor: The message with the field and those that the condition tests.
        row: The field's row of the tables.
        condition: The row's condition.
        known: Fields with a fixed value, by their EMV names.
    """
    tested = dict.fromkeys(name for name in names_in(condition) if name not in known)
    return Need(
        Requirement("emv.required", f"is required if {row.required}", bool),
        condition,
        known,
        {name: getter(descriptor, name) for name in tested},
        {name: frozenset(_paths(descriptor, name)) for name in tested},
    )


def getter(descriptor: Descriptor, path: str) -> Getter:
    """Return a getter for a field by its EMV name, or for a field of an object by both names with a dot."""
    name, _, inner = path.partition(".")
    field = _field(descriptor, name)
    attribute = field.name
    if inner and field.message_type is not None:
        read_inner = getter(field.message_type, inner)
        return lambda message: read_inner(getattr(message, attribute))
    if field.enum_type is not None:
        codes = codes_of(field.enum_type).by_number
        return lambda message: codes.get(getattr(message, attribute))
    if field.has_presence:
        return lambda message: getattr(message, attribute) if message.HasField(attribute) else None
    return lambda message: getattr(message, attribute) or None


def _paths(descriptor: Descriptor, name: str) -> Iterator[str]:
    """Yield the paths of faults that leave a field's value open, by its EMV name as in `getter`."""
    outer, _, inner = name.partition(".")
    field = _field(descriptor, outer)
    yield field.name
    if inner and field.message_type is not None:
        for path in _paths(field.message_type, inner):
            yield f"{field.name}.{path}"


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor:
    return next(field for field in descriptor.fields if field.json_name == name)
