"""Parses JSON from D1: strict about the fields that D1 is known to send, tolerant of everything else."""

import re
from datetime import UTC, datetime
from typing import Any

from google.protobuf import struct_pb2

from gateway.edge.responses import HttpError
from gateway.json_input import fill_struct

__all__ = ["CARD_ID", "CONSUMER_ID", "OPERATION_ID", "FieldError", "Fields", "parse_time"]

CARD_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""A card's id (D1 API: identifiers)."""
CONSUMER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A consumer's id (D1 API: identifiers)."""
OPERATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An operation's id (D1 API: identifiers)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FieldError(HttpError):
    """A field is missing or malformed. The text names the field and the rule, never the value."""

    def __init__(self, text: str) -> None:
        super().__init__(400, text)


class Fields:
    """The fields of a JSON object, taken one by one; the rest is unknown."""

    __slots__ = ("_prefix", "_values")

    def __init__(self, values: dict[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def text(self, name: str, *, max_length: int, required: bool = False) -> str:
        """Take a string; empty if absent or null.

        Raises:
            FieldError: It is not a string, or too long.
        """
        value = self._values.pop(name, None)
        if isinstance(value, str) and len(value) <= max_length and (value or not required):
            return value
        if value is None and not required:
            return ""
        raise self._error(name, f"must be a string of {1 if required else 0} to {max_length} characters")

    def fitting_text(self, name: str, *, max_length: int) -> str:
        """Take a string; empty if absent or null. Any other value stays for `rest_into`."""
        value = self._values.get(name)
        if value is None or (isinstance(value, str) and len(value) <= max_length):
            return self._values.pop(name, None) or ""
        return ""

    def identifier(self, name: str, form: re.Pattern[str], *, required: bool = False) -> str:
        """Take an id; empty if absent or null.

        Raises:
            FieldError: It is not an id of that form.
        """
        value = self._values.pop(name, None)
        if isinstance(value, str) and form.fullmatch(value) is not None:
            return value
        if value is None and not required:
            return ""
        raise self._error(name, f"must match {form.pattern}")

    def nested(self, name: str) -> "Fields | None":
        """Take an object; None if absent or null.

        Raises:
            FieldError: It is not an object.
        """
        value = self._values.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._error(name, "must be an object")
        return Fields(value, f"{self._prefix}{name}.")

    def fitting_nested(self, name: str) -> "Fields | None":
        """Take an object; None if absent or null. Any other value stays for `rest_into`."""
        value = self._values.get(name)
        return self.nested(name) if value is None or isinstance(value, dict) else None

    def rest_into(self, struct: struct_pb2.Struct) -> None:
        """Copy the remaining fields into a Struct, as `gateway.json_input.fill_struct` writes it."""
        fill_struct(struct, self._values)

    def __bool__(self) -> bool:
        return bool(self._values)

    def _error(self, name: str, rule: str) -> FieldError:
        return FieldError(f"{self._prefix}{name} {rule}")


def parse_time(text: str) -> tuple[int, int] | None:
    """Parse an ISO 8601 time with a zone, in the years 1 to 9999 UTC (D1 API: times).

    Returns:
        Seconds since 1970 (UTC) and nanoseconds, as in ``google.protobuf.Timestamp``; None if malformed.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            return None
        since = time.astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since.days * 86_400 + since.seconds, since.microseconds * 1000
