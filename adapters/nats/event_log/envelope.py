"""The stored form of an event: a header of fixed size, its texts, and the payload; its state is a header of NATS."""

import base64
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812  a class
from typing import Final

from adapters.nats.connection.errors import NatsError
from gateway.ports import Event

__all__ = ["STATE", "decode_state", "pack", "state_header", "unpack"]

STATE: Final = "D1-Gateway-State"
"""Header with the state of an event that has one. Not in the content, whose form gateways of earlier versions read."""

_FORMAT: Final = 1
_HEADER: Final = Struct(">BiiiqIIII")
"""Format, kind, type, status, receive time, and the lengths of the four texts."""


def pack(event: Event) -> bytes:
    """Serialise an event, except for its state."""
    texts = [
        text.encode("utf-8", "surrogatepass")
        for text in (event.issuer_id, event.subject_id, event.operation_id, event.consumer_id)
    ]
    header = _HEADER.pack(
        _FORMAT, event.kind, event.operation_type, event.status, event.receive_time_ms, *map(len, texts)
    )
    return b"".join((header, *texts, event.payload))


def state_header(event: Event) -> Mapping[str, str]:
    """Return the header with an event's state; none if it is empty."""
    if not event.state:
        return {}
    return {STATE: base64.urlsafe_b64encode(event.state.encode("utf-8", "surrogatepass")).decode()}


def decode_state(header: str) -> str:
    """Return the state in the value of a header, which may be empty.

    Raises:
        NatsError: No gateway wrote it.
    """
    try:
        return base64.urlsafe_b64decode(header).decode("utf-8", "surrogatepass")
    except ValueError:
        raise NatsError("The stream holds a message that is not an event.") from None


def unpack(content: bytes, state: str = "") -> Event:
    """Parse an event with that state.

    Raises:
        NatsError: This version cannot read it.
    """
    try:
        form, kind, operation_type, status, time_ms, *lengths = _HEADER.unpack_from(content)
    except StructError:
        form = None
    if form != _FORMAT:
        raise NatsError("The stream holds a message that is not an event, or that a newer version wrote.")
    texts, start = [], _HEADER.size
    for length in lengths:
        texts.append(content[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    issuer_id, subject_id, operation_id, consumer_id = texts
    return Event(
        issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, time_ms, content[start:], state
    )
