"""The EMV codes of the contract's enums, from the option of each value."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import EnumDescriptor

from issuer.common.v1 import options_pb2

__all__ = ["Codes", "codes_of"]


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of an enum, in both directions."""

    by_number: Mapping[int, str]
    numbers: Mapping[str, int]


@cache
def codes_of(enum: EnumDescriptor) -> Codes:
    """Return the codes of an enum. Its first value, unspecified, has none."""
    by_number = {value.number: value.GetOptions().Extensions[options_pb2.code] for value in enum.values if value.number}
    return Codes(by_number, {code: number for number, code in by_number.items()})
