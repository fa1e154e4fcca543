"""Reads what D1 sends: strict about the fields it is known to send, tolerant of everything it may add."""

import re
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import hdrs, web
from google.protobuf import struct_pb2

from gateway.edge.errors import Refusal

__all__ = ["CARD_ID", "CONSUMER_ID", "OPERATION_ID", "Fields", "parse_time", "read_json"]

CARD_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""A card's id (D1 API: identifiers)."""
CONSUMER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A consumer's id (D1 API: identifiers)."""
OPERATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An operation's id (D1 API: identifiers)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_EXACT_INTEGER = 2**53
# A Struct nests three messages a level, and readers of protobuf stop at a hundred.
_MAX_DEPTH = 16
_JSON = "application/json"


async def read_json(request: web.Request) -> "Fields":
    """Read a request's body as a JSON object.

    Raises:
        Refusal: 415 for another content type, 400 for what is no JSON object or nests too deep.
        aiohttp.web.HTTPRequestEntityTooLarge: The body is larger than the edge takes.
    """
    # What D1 sends is told at a glance; aiohttp parses the rest.
    if request.headers.get(hdrs.CONTENT_TYPE) != _JSON and request.content_type != _JSON:
        raise Refusal(415, "the content type must be application/json")
    body = await request.read()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object")
    return Fields(value)


class Fields:
    """The fields of a JSON object, taken out one by one; what is left was not known."""

    __slots__ = ("_prefix", "_values")

    def __init__(self, values: dict[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def text(self, name: str, *, max_length: int, required: bool = False) -> str:
        """Take a string; empty if it is absent or null.

        Raises:
            Refusal: 400, naming the field.
        """
        value = self._values.pop(name, None)
        if isinstance(value, str) and len(value) <= max_length and (value or not required):
            return value
        if value is None and not required:
            return ""
        raise self._refuse(name, f"must be a string of {1 if required else 0} to {max_length} characters")

    def identifier(self, name: str, form: re.Pattern[str], *, required: bool = False) -> str:
        """Take an id; empty if it is absent or null.

        Raises:
            Refusal: 400, naming the field.
        """
        value = self._values.pop(name, None)
        if isinstance(value, str) and form.fullmatch(value) is not None:
            return value
        if value is None and not required:
            return ""
        raise self._refuse(name, f"must match {form.pattern}")

    def nested(self, name: str) -> "Fields | None":
        """Take an object; None if it is absent or null.

        Raises:
            Refusal: 400, naming the field.
        """
        value = self._values.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._refuse(name, "must be an object")
        return Fields(value, f"{self._prefix}{name}.")

    def rest_into(self, struct: struct_pb2.Struct) -> None:
        """Put what was not taken into a Struct, as it came.

        A whole number that a double cannot hold exactly is kept as text.

        Raises:
            Refusal: 400, naming a field that nests too deep.
        """
        for name, value in self._values.items():
            try:
                _fill(struct.fields[name], value, _MAX_DEPTH)
            except _TooDeepError:
                raise self._refuse(name, f"nests deeper than {_MAX_DEPTH} levels") from None

    def __bool__(self) -> bool:
        return bool(self._values)

    def _refuse(self, name: str, rule: str) -> Refusal:
        # An unknown field's name is the sender's text: only its printable start goes into the answer and the log.
        shown = "".join(character for character in name[:64] if character.isprintable())
        return Refusal(400, f"{self._prefix}{shown} {rule}")


def parse_time(text: str) -> tuple[int, int] | None:
    """Read an ISO 8601 time with its zone, in the years 1 to 9999 of UTC (D1 API: times).

    Returns:
        Seconds since 1970 (UTC) and nanoseconds, as a ``google.protobuf.Timestamp`` has them; None if it is no time.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            return None
        since = time.astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since.days * 86_400 + since.seconds, since.microseconds * 1000


class _TooDeepError(Exception):
    pass


def _fill(value: struct_pb2.Value, source: Any, depth: int) -> None:
    if depth == 0:
        raise _TooDeepError
    match source:
        case None:
            value.null_value = struct_pb2.NULL_VALUE
        case bool():
            value.bool_value = source
        case str():
            value.string_value = source
        case int() if abs(source) > _MAX_EXACT_INTEGER:
            value.string_value = str(source)
        case int() | float():
            value.number_value = source
        case list():
            # Set even if it is empty: an empty list is a list all the same.
            value.list_value.SetInParent()
            for item in source:
                _fill(value.list_value.values.add(), item, depth - 1)
        case _:
            value.struct_value.SetInParent()
            for name, item in source.items():
                _fill(value.struct_value.fields[name], item, depth - 1)
