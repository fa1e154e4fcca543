"""Requests to JetStream. They go to the leader of the stream that they are about."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import NatsError, NoResponderError

__all__ = ["EXPECTED_LAST", "JetStreamError", "ask", "is_other_one_there", "may_pass", "parse_ack"]

EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
"""The header that has a message stored only if the last one of its subject has that sequence; 0 for none."""


_UNAVAILABLE: Final = 503
_WRONG_LAST: Final = frozenset({10071, 10164})


class JetStreamError(NatsError):
    """JetStream refuses. Nothing was done."""

    NOT_FOUND: Final = frozenset({10037, 10059})
    """No such message, no such stream."""
    TOO_FEW_SERVERS: Final = frozenset({10005, 10074})
    NOT_ENABLED: Final = frozenset({10039, 10076})
    NAME_IN_USE: Final = 10058

    def __init__(self, error: Mapping[str, Any]) -> None:
        """Note what it says."""
        super().__init__(f"JetStream refuses: {error.get('description', 'no reason given')}.")
        self.number: int = error.get("err_code", 0)
        """Which error it is, of those that JetStream has."""
        self.code: int = error.get("code", 0)
        """What kind of error it is, as in HTTP."""


async def ask(connection: Connection, what: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Ask JetStream.

    Args:
        connection: The way to it.
        what: The subject, after ``$JS.API.``.
        body: What it wants to know.

    Raises:
        JetStreamError: It refuses.
        NatsError: It does not answer.
    """
    payload = b"" if body is None else orjson.dumps(body)
    return _checked(await connection.request(f"$JS.API.{what}", payload))


def is_other_one_there(error: NatsError) -> bool:
    """Tell whether a message was refused because its subject's last one is not as expected, or one is on its way."""
    return isinstance(error, JetStreamError) and error.number in _WRONG_LAST


def may_pass(error: NatsError) -> bool:
    """Tell whether nothing was done, but may be in a moment: a leader is being found, or a message is on its way."""
    if isinstance(error, JetStreamError):
        return error.code == _UNAVAILABLE or error.number in _WRONG_LAST
    return isinstance(error, NoResponderError)


def parse_ack(message: Msg) -> int:
    """Return the sequence under which a message was stored.

    Raises:
        JetStreamError: It was not.
    """
    sequence: int = _checked(message)["seq"]
    return sequence


def _checked(message: Msg) -> dict[str, Any]:
    try:
        answer = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise NatsError("The answer is not JetStream's.")
    if "error" in answer:
        raise JetStreamError(answer["error"])
    return answer
