"""Free JSON in messages: converts ``google.protobuf.Struct`` and ``Value`` to plain values."""

from math import copysign, isfinite
from typing import Any

from google.protobuf import struct_pb2

__all__ = ["struct_to_json", "value_to_json"]

_EXACT = 2**53
"""A double holds every integer below this."""


def struct_to_json(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return a Struct as a plain JSON object, with exact integers as int.

    Raises:
        ValueError: It contains a number that JSON does not have.
    """
    return {name: value_to_json(value) for name, value in struct.fields.items()}


def value_to_json(value: struct_pb2.Value) -> Any:
    """Return a Value as a plain JSON value, as `struct_to_json` does."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return _number(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return struct_to_json(value.struct_value)
    if kind == "list_value":
        return [value_to_json(item) for item in value.list_value.values]
    return None


def _number(number: float) -> int | float:
    if not isfinite(number):
        raise ValueError("not a JSON number")
    # -0.0 would lose its sign as an int.
    whole = number.is_integer() and abs(number) < _EXACT and copysign(1.0, number) == copysign(1.0, int(number))
    return int(number) if whole else number
