"""The EMV codes of the contract's enums, from the option of each value."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from issuer.common.v1 import options_pb2

__all__ = ["Codes", "codes_of", "enum_beside"]


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of an enum, in both directions."""

    by_number: Mapping[int, str]
    numbers: Mapping[str, int]


@cache
def codes_of(enum: EnumDescriptor) -> Codes:
    """Return the codes of an enum. Its first value, unspecified, has none."""
    by_number = {
        value.number: value.GetOptions().Extensions[options_pb2.emv_code] for value in enum.values if value.number
    }
    return Codes(by_number, {code: number for number, code in by_number.items()})


def enum_beside(field: FieldDescriptor) -> FieldDescriptor | None:
    """Return the enum field ``x`` whose other codes a text field ``x_text`` holds; None for any other field."""
    name, suffix, rest = field.name.rpartition("_text")
    message = field.containing_type
    beside = message.fields_by_name.get(name) if message is not None and suffix and not rest else None
    return beside if beside is not None and beside.enum_type is not None else None
