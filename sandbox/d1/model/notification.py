"""What D1 tells the issuer of operations, what it keeps of them, and the ways in which such telling goes wrong."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sandbox.d1.model.contract import (
    HISTORY_SECONDS,
    NOTIFY_CONSUMER_OPERATION,
    NOTIFY_THREE_DS_OPERATION,
    OutboundCall,
)

__all__ = ["ConsumerNotification", "History", "Notification", "Variant", "new_details", "new_operation_id", "vary"]

_LATENESS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Notification:
    """The outcome of a 3DS operation on a card (D1 API: notify 3DS card operation)."""

    card_id: str
    operation_id: str
    """D1's id of the operation; a notification sent again has the same."""
    start_time: datetime
    """When the operation was processed; with a time zone."""
    operation: str = "3DS_CHALLENGE_OOB"
    status: str = "SUCCESSFUL"
    consumer_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    """Text for people, for failures only."""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Further fields at the top, which the contract does not name."""

    @property
    def call(self) -> OutboundCall:
        """With which call it is told."""
        return NOTIFY_THREE_DS_OPERATION

    @property
    def ids(self) -> Mapping[str, str]:
        """What stands in the call's path."""
        return {"cardId": self.card_id}

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        optional = {"consumerId": self.consumer_id, "error": self.error}
        return {
            "operationId": self.operation_id,
            "operation": self.operation,
            "status": self.status,
            "startTime": _time(self.start_time),
            "details": dict(self.details),
            **{name: value for name, value in optional.items() if value is not None},
            **self.unknown,
        }


@dataclass(frozen=True, slots=True)
class ConsumerNotification:
    """The outcome of an operation on a consumer (D1 API: notify consumer operation)."""

    consumer_id: str
    operation_id: str
    """D1's id of the operation; a notification sent again has the same."""
    start_time: datetime
    """When the operation was processed; with a time zone."""
    operation: str
    status: str = "SUCCESSFUL"
    details: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Further fields at the top, which the contract does not name."""

    @property
    def call(self) -> OutboundCall:
        """With which call it is told."""
        return NOTIFY_CONSUMER_OPERATION

    @property
    def ids(self) -> Mapping[str, str]:
        """What stands in the call's path."""
        return {"consumerId": self.consumer_id}

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {
            "operationId": self.operation_id,
            "operation": self.operation,
            "status": self.status,
            "startTime": _time(self.start_time),
            "details": dict(self.details),
            **self.unknown,
        }


class History:
    """The 3DS operations of every card, in memory, kept for a year."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Have an empty history.

        Args:
            clock: Tells the time, in seconds since 1970 (UTC).
        """
        self._clock = clock
        self._operations: defaultdict[str, list[Notification]] = defaultdict(list)

    def add(self, operation: Notification) -> None:
        """Keep an operation, as it is notified."""
        self._operations[operation.card_id].append(operation)

    def of(self, card_id: str) -> list[Notification]:
        """The operations of a card, newest first, without those that are older than a year."""
        oldest = datetime.fromtimestamp(self._clock(), UTC) - timedelta(seconds=HISTORY_SECONDS)
        # Of operations of the same time, the one that came last is the newest.
        came_last_first = reversed(self._operations.get(card_id, []))
        kept = (operation for operation in came_last_first if operation.start_time >= oldest)
        return sorted(kept, key=lambda operation: operation.start_time, reverse=True)


class Variant(StrEnum):
    """How notifications are sent."""

    PLAIN = "plain"
    """Each once, with ids of their own."""
    DUPLICATE = "duplicate"
    """The same one several times."""
    LATE = "late"
    """As plain, of operations of an hour ago."""
    OUT_OF_ORDER = "out_of_order"
    """As plain, the newest operation first."""
    UNKNOWN_FIELDS = "unknown_fields"
    """As plain, with fields that the contract does not name, at the top and in the details."""
    UNKNOWN_VALUES = "unknown_values"
    """As plain, with an operation and a status that the contract does not name."""


def vary(variant: Variant, first: Notification, count: int) -> list[Notification]:
    """Make the notifications to send, in the order of sending.

    Args:
        variant: How.
        first: The one of the oldest operation; further ones follow at seconds' distance.
        count: How many.
    """
    if variant is Variant.DUPLICATE:
        return [first] * count
    if variant is Variant.LATE:
        first = replace(first, start_time=first.start_time - _LATENESS)
    if variant is Variant.UNKNOWN_FIELDS:
        first = replace(
            first,
            details={**first.details, "unknownDetail": {"nested": [1, "two", None]}},
            unknown={"unknownField": "of a later version"},
        )
    if variant is Variant.UNKNOWN_VALUES:
        first = replace(first, operation="3DS_UNKNOWN_OPERATION", status="UNKNOWN_STATUS")
    further = [
        replace(first, operation_id=new_operation_id(), start_time=first.start_time + timedelta(seconds=place))
        for place in range(1, count)
    ]
    notifications = [first, *further]
    return notifications[::-1] if variant is Variant.OUT_OF_ORDER else notifications


def new_operation_id() -> str:
    """Make an id for an operation."""
    return f"op_{secrets.token_hex(16)}"


def new_details() -> dict[str, str]:
    """Make the details that every operation has."""
    return {"acsTransactionId": str(uuid4()), "threeDSServerTransId": str(uuid4())}


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
