"""Idempotency records: a call is in flight, has a reply, or has an unknown outcome."""

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from gateway.errors import GatewayError
from gateway.idempotency.encryption import FINGERPRINT_BYTES, UnreadableError
from issuer.common.v1 import error_pb2

__all__ = [
    "ADVICE",
    "INSTANCE_BYTES",
    "InFlight",
    "Record",
    "Replied",
    "State",
    "Undecided",
    "decode",
    "encode",
]

INSTANCE_BYTES: Final = 16
ADVICE: Final = "It was not sent again. Find out its outcome, then use a new request_id."
"""The advice to a caller whose call may have taken effect before."""

_HEAD: Final = struct.Struct(f"!c{FINGERPRINT_BYTES}s")
_MARKER: Final = struct.Struct(f"!{INSTANCE_BYTES}sd")
_IN_FLIGHT: Final = b"f"
_REPLIED: Final = b"r"
_UNDECIDED: Final = b"u"


@dataclass(frozen=True, slots=True)
class InFlight:
    """The call is running."""

    instance: bytes
    """The id of the process that runs it."""
    lease_end: float
    """When it has certainly finished or died, in seconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The call succeeded."""

    reply: bytes
    """The serialised reply."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The call failed, and may have taken effect."""

    message: str
    """The message that the caller got."""
    detail: error_pb2.ErrorDetail
    """The detail that the caller got, without its correlation id."""

    @classmethod
    def of(cls, error: GatewayError) -> "Undecided":
        """Make the state for an error."""
        return cls(error.message, error.detail)

    @property
    def error(self) -> GatewayError:
        """The error for a repeated call."""
        error = GatewayError(
            self.detail.reason,
            f"{self.message} {ADVICE}",
            outcome=error_pb2.ERROR_OUTCOME_UNKNOWN,
            detail=self.detail,
        )
        error.detail.idempotent_replay = True
        return error


State: TypeAlias = InFlight | Replied | Undecided


@dataclass(frozen=True, slots=True)
class Record:
    """The stored state of a call."""

    fingerprint: bytes
    """The fingerprint of its request."""
    state: State


def encode(record: Record) -> bytes:
    """Serialise a record."""
    match record.state:
        case InFlight(instance, lease_end):
            kind, body = _IN_FLIGHT, _MARKER.pack(instance, lease_end)
        case Replied(reply):
            kind, body = _REPLIED, reply
        case Undecided(message, detail):
            status = status_pb2.Status(message=message)
            status.details.add().Pack(detail)
            kind, body = _UNDECIDED, status.SerializeToString()
    return _HEAD.pack(kind, record.fingerprint) + body


def decode(content: bytes) -> Record:
    """Parse a record.

    Raises:
        UnreadableError: This version does not know such a record.
    """
    try:
        kind, fingerprint = _HEAD.unpack_from(content)
        return Record(fingerprint, _state(kind, content[_HEAD.size :]))
    except (struct.error, DecodeError) as error:
        raise UnreadableError from error


def _state(kind: bytes, body: bytes) -> State:
    if kind == _IN_FLIGHT:
        return InFlight(*_MARKER.unpack(body))
    if kind == _REPLIED:
        return Replied(body)
    if kind == _UNDECIDED:
        return _undecided(body)
    raise UnreadableError


def _undecided(body: bytes) -> Undecided:
    status, detail = status_pb2.Status.FromString(body), error_pb2.ErrorDetail()
    for each in status.details:
        each.Unpack(detail)
    if detail.reason == error_pb2.ERROR_REASON_UNSPECIFIED or detail.reason not in error_pb2.ErrorReason.values():
        raise UnreadableError
    return Undecided(status.message, detail)
