"""The stored form of an event: a header of fixed size, its texts, and the payload."""

from struct import Struct
from struct import error as StructError  # noqa: N812  a class
from typing import Final

from adapters.nats.connection.errors import NatsError
from gateway.ports import Event

__all__ = ["pack", "unpack"]

_FORMAT: Final = 1
_HEADER: Final = Struct(">BiiiqIIII")
"""Format, kind, type, status, receive time, and the lengths of the four texts."""


def pack(event: Event) -> bytes:
    """Serialise an event."""
    texts = [
        text.encode("utf-8", "surrogatepass")
        for text in (event.issuer_id, event.subject_id, event.operation_id, event.consumer_id)
    ]
    header = _HEADER.pack(
        _FORMAT, event.kind, event.operation_type, event.status, event.receive_time_ms, *map(len, texts)
    )
    return b"".join((header, *texts, event.payload))


def unpack(content: bytes) -> Event:
    """Parse an event.

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
        issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, time_ms, content[start:]
    )
