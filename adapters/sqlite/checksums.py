"""Checksums of stored rows, which tell a row that was changed on the disk from one that was written.

The numbers of a row are combined by SQLite when it is read, and by `checksum` when it is written: formatting them in
Python would take a quarter of the time of a read.
"""

from functools import lru_cache
from typing import Final
from zlib import crc32

from gateway.ports import Event

__all__ = [
    "CHECKED_COLUMNS",
    "NUMBERS",
    "checksum",
    "checksum_of_row",
    "checksum_of_subscription",
    "checksum_seed",
    "payload_checksum",
]

_PRIME: Final = 4_294_967_291
"""The largest prime below 2**32, so that a change of any one number changes the result."""

NUMBERS: Final = f"(sequence + kind * 7 + operation_type * 17 + status * 91 + receive_time_ms * 3) % {_PRIME}"
"""The expression of SQL for a row's numbers."""

CHECKED_COLUMNS: Final = "issuer_id, subject_id, operation_id, consumer_id, state, payload"
"""The other arguments of `checksum_of_row`."""


def checksum(sequence: int, event: Event) -> int:
    """Return the checksum to store with an event: CRC-32 over its position, its fields and its bytes."""
    issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, time_ms, payload, state = event
    numbers = (sequence + kind * 7 + operation_type * 17 + status * 91 + time_ms * 3) % _PRIME
    return checksum_of_row(numbers, issuer_id, subject_id, operation_id, consumer_id, state, payload)


def checksum_of_row(
    numbers: int, issuer_id: str, subject_id: str, operation_id: str, consumer_id: str, state: str, payload: bytes
) -> int:
    """Return the checksum of a row, with the value of `NUMBERS`.

    Raises:
        TypeError: A value is not of its column's type.
    """
    texts = f"{issuer_id}{subject_id}{operation_id}{consumer_id}{state}".encode()
    return crc32(payload, crc32(texts, numbers))


def payload_checksum(sequence: int, event: Event) -> int:
    """Return the second checksum to store with an event: CRC-32 over its position, its issuer and its bytes.

    Who needs no more of an event than these, reads and checks it in half of the time.
    """
    return crc32(event.payload, checksum_seed(event.issuer_id) ^ sequence)


@lru_cache(maxsize=64)
def checksum_seed(issuer_id: str) -> int:
    """Return what the `payload_checksum` of an issuer's events have in common."""
    return crc32(issuer_id.encode())


def checksum_of_subscription(*values: str | int) -> int:
    """Return the checksum to store with the values of a subscription."""
    return crc32("|".join(map(str, values)).encode())
