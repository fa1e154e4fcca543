"""Requests to the JetStream API. The leader of the stream concerned responds."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import NatsError, NoResponderError

__all__ = ["EXPECTED_LAST", "JetStreamError", "api_request", "is_conflict", "is_transient", "parse_ack"]

EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
"""Header with the required sequence of the subject's last message, 0 for none; otherwise the message is rejected."""

_UNAVAILABLE: Final = 503
_WRONG_LAST: Final = frozenset({10071, 10164})


class JetStreamError(NatsError):
    """JetStream returned an error. Nothing was done."""

    NOT_FOUND: Final = frozenset({10037, 10059})
    """No such message, no such stream."""
    TOO_FEW_SERVERS: Final = frozenset({10005, 10074})
    NOT_ENABLED: Final = frozenset({10039, 10076})
    NAME_IN_USE: Final = 10058

    def __init__(self, error: Mapping[str, Any]) -> None:
        """Read an error response."""
        super().__init__(f"JetStream error: {error.get('description', 'no description')}.")
        self.number: int = error.get("err_code", 0)
        """JetStream's error code."""
        self.code: int = error.get("code", 0)
        """The class of the error, an HTTP status."""


async def api_request(connection: Connection, api: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Send a request to the JetStream API.

    Args:
        connection: The connection.
        api: The subject after ``$JS.API.``.
        body: The request.

    Raises:
        JetStreamError: JetStream returned an error.
        NatsError: There was no response.
    """
    payload = b"" if body is None else orjson.dumps(body)
    return _parse(await connection.request(f"$JS.API.{api}", payload))


def is_conflict(error: NatsError) -> bool:
    """Return whether a message was rejected because its subject's last one differs, or another one is in flight."""
    return isinstance(error, JetStreamError) and error.number in _WRONG_LAST


def is_transient(error: NatsError) -> bool:
    """Return whether nothing was done and a retry may succeed: during an election, or with a message in flight."""
    if isinstance(error, JetStreamError):
        return error.code == _UNAVAILABLE or error.number in _WRONG_LAST
    return isinstance(error, NoResponderError)


def parse_ack(message: Msg) -> int:
    """Return the sequence of a stored message.

    Raises:
        JetStreamError: It was not stored.
    """
    sequence: int = _parse(message)["seq"]
    return sequence


def _parse(message: Msg) -> dict[str, Any]:
    try:
        response = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        response = None
    if not isinstance(response, dict):
        raise NatsError("The response is not from JetStream.")
    if "error" in response:
        raise JetStreamError(response["error"])
    return response
