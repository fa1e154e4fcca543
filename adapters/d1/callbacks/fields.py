"""Parses JSON from D1 without judging it: what is not as D1 documents it is kept, and named in `Fields.misfits`."""

import re
from datetime import UTC, datetime
from typing import Any

from google.protobuf import struct_pb2

from gateway.edge.responses import HttpError
from gateway.formats.json_input import fill_struct

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

    __slots__ = ("_prefix", "_values", "misfits")

    def __init__(self, values: dict[str, Any], prefix: str = "", misfits: list[str] | None = None) -> None:
        self._values = values
        self._prefix = prefix
        self.misfits: list[str] = [] if misfits is None else misfits
        """Paths of the fields, those of nested objects included, that were not as D1 documents them."""

    def text(self, name: str, *, max_length: int) -> str:
        """Take a string that must not be empty.

        Raises:
            FieldError: It is not a string, is empty or too long.
        """
        value = self._values.pop(name, None)
        if isinstance(value, str) and 0 < len(value) <= max_length:
            return value
        raise FieldError(f"{self._prefix}{name} must be a string of 1 to {max_length} characters")

    def fitting_text(self, name: str, *, max_length: int, required: bool = False) -> str:
        """Take a string; empty if absent or null. Any other value stays for `rest_into`, and is a misfit.

        If it is required, an absent or empty one is a misfit too.
        """
        value = self._values.get(name)
        if isinstance(value, str) and len(value) <= max_length and (value or not required):
            del self._values[name]
            return value
        if value is None:
            self._values.pop(name, None)
        if required or value is not None:
            self.misfits.append(self._prefix + name)
        return ""

    def first_fitting_text(self, *names: str, max_length: int) -> str:
        """Take the first text that is not empty of a value with several names, as `fitting_text` does."""
        for name in names:
            if text := self.fitting_text(name, max_length=max_length):
                return text
        return ""

    def fitting_digits(self, name: str, *, max_length: int) -> str:
        """Take a string, as `fitting_text` does, or the digits of a whole number."""
        value = self._values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and len(digits := str(value)) <= max_length:
            del self._values[name]
            return digits
        return self.fitting_text(name, max_length=max_length)

    def fitting_identifier(self, name: str, form: re.Pattern[str], *, required: bool = False) -> str:
        """Take an id; empty if absent or null. Any other value is a misfit; unless empty, it stays for `rest_into`.

        If the id is required, an absent one is a misfit too.
        """
        value = self._values.get(name)
        if isinstance(value, str) and form.fullmatch(value) is not None:
            del self._values[name]
            return value
        if value is None or value == "":
            self._values.pop(name, None)
        if required or value is not None:
            self.misfits.append(self._prefix + name)
        return ""

    def fitting_nested(self, name: str) -> "Fields | None":
        """Take an object; None if absent or null. Any other value stays for `rest_into`, and is a misfit."""
        value = self._values.get(name)
        if value is None or isinstance(value, dict):
            self._values.pop(name, None)
            return None if value is None else Fields(value, f"{self._prefix}{name}.", self.misfits)
        self.misfits.append(self._prefix + name)
        return None

    def rest_into(self, struct: struct_pb2.Struct) -> None:
        """Copy the remaining fields into a Struct, as `gateway.formats.json_input.fill_struct` writes it."""
        fill_struct(struct, self._values)

    def __bool__(self) -> bool:
        return bool(self._values)


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
