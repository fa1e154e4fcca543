"""The stored form of an event: a header of fixed size, its texts, and the payload.

Its state and a checksum over all of it are headers of NATS. JetStream has checksums of its own, but those tell only its
servers' disks; this one is made before the event leaves the gateway, and tells whatever happens to it until it returns.
"""

import base64
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812  a class
from typing import Final
from zlib import crc32

from adapters.nats.connection.errors import NatsError
from gateway.ports import Event

__all__ = ["CHECKSUM", "STATE", "DamagedMessageError", "headers_of", "pack", "unpack"]

STATE: Final = "D1-Gateway-State"
"""Header with the state of an event that has one. Not in the content, whose form gateways of earlier versions read."""

CHECKSUM: Final = "D1-Gateway-Checksum"
"""Header with the CRC-32 of the state and the content, in decimal digits. Earlier versions wrote none."""

_FORMAT: Final = 1
_HEADER: Final = Struct(">BiiiqIIII")
"""Format, kind, type, status, receive time, and the lengths of the four texts."""


class DamagedMessageError(NatsError):
    """The next message of the stream is not an event as a gateway stored it."""

    def __init__(self, sequence: int) -> None:
        """Name the message."""
        super().__init__(f"Its message {sequence} is damaged.")
        self.sequence = sequence


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


def headers_of(event: Event, content: bytes) -> dict[str, str]:
    """Return the headers to store with the result of `pack`."""
    state = event.state.encode("utf-8", "surrogatepass")
    headers = {CHECKSUM: str(crc32(content, crc32(state)))}
    if state:
        headers[STATE] = base64.urlsafe_b64encode(state).decode()
    return headers


def unpack(content: bytes, headers: Mapping[str, str]) -> Event:
    """Parse an event with its headers.

    Raises:
        ValueError: It is not as it was stored, or this version cannot read it.
    """
    state = base64.urlsafe_b64decode(headers.get(STATE, ""))
    checksum = headers.get(CHECKSUM)
    if checksum is not None and checksum != str(crc32(content, crc32(state))):
        raise ValueError("The checksum is another one.")
    try:
        form, kind, operation_type, status, time_ms, *lengths = _HEADER.unpack_from(content)
    except StructError:
        form = None
    if form != _FORMAT:
        raise ValueError("It is not an event, or a newer version wrote it.")
    texts, start = [], _HEADER.size
    for length in lengths:
        texts.append(content[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    issuer_id, subject_id, operation_id, consumer_id = texts
    return Event(
        issuer_id,
        kind,
        subject_id,
        operation_id,
        consumer_id,
        operation_type,
        status,
        time_ms,
        content[start:],
        state.decode("utf-8", "surrogatepass"),
    )
