"""D1's notifications to the issuer, its history of operations, and variants of notifications for tests."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sandbox.common.state import State
from sandbox.d1.model.contract import (
    HISTORY_SECONDS,
    NOTIFY_CONSUMER_OPERATION,
    NOTIFY_THREE_DS_OPERATION,
    Callback,
)

__all__ = ["ConsumerNotification", "History", "Notification", "Variant", "new_details", "new_operation_id", "vary"]

_LATENESS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Notification:
    """The outcome of a 3DS operation on a card (D1 API: notify 3DS card operation)."""

    card_id: str
    operation_id: str
    """D1's id of the operation; a repeated notification has the same."""
    start_time: datetime
    """When the operation was processed; with a time zone."""
    operation: str = "3DS_CHALLENGE_OOB"
    status: str = "SUCCESSFUL"
    consumer_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    """The reason of a failure, for people."""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Further top-level fields outside the contract."""

    @property
    def call(self) -> Callback:
        """The callback that carries it."""
        return NOTIFY_THREE_DS_OPERATION

    @property
    def ids(self) -> Mapping[str, str]:
        """The path parameters."""
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
    """D1's id of the operation; a repeated notification has the same."""
    start_time: datetime
    """When the operation was processed; with a time zone."""
    operation: str
    status: str = "SUCCESSFUL"
    requestor_type: str | None = None
    """Who requested the operation: ``ISSUER``, ``USER`` or ``CCI``."""
    requestor_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Further top-level fields outside the contract."""

    @property
    def call(self) -> Callback:
        """The callback that carries it."""
        return NOTIFY_CONSUMER_OPERATION

    @property
    def ids(self) -> Mapping[str, str]:
        """The path parameters."""
        return {"consumerId": self.consumer_id}

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        optional = {"requestorType": self.requestor_type, "requestorId": self.requestor_id}
        return {
            "operationId": self.operation_id,
            "operation": self.operation,
            "status": self.status,
            "startTime": _time(self.start_time),
            "details": dict(self.details),
            **{name: value for name, value in optional.items() if value is not None},
            **self.unknown,
        }


class History:
    """The 3DS operations of every card, kept for a year."""

    def __init__(self, clock: Callable[[], float], state: State) -> None:
        """Start with the operations that were kept.

        Args:
            clock: Returns the time, in seconds since 1970 (UTC).
            state: Keeps the operations.
        """
        self._clock = clock
        self._kept = state.table("history", Notification)
        self._operations: defaultdict[str, list[Notification]] = defaultdict(list)
        for operation in self._kept.values():
            self._operations[operation.card_id].append(operation)

    def add(self, operation: Notification) -> None:
        """Store an operation."""
        self._kept[str(len(self._kept))] = operation
        self._operations[operation.card_id].append(operation)

    def all(self) -> list[Notification]:
        """Return the operations of every card of the last year: card by card, each card's newest first."""
        return [operation for card_id in sorted(self._operations) for operation in self.of(card_id)]

    def of(self, card_id: str) -> list[Notification]:
        """Return a card's operations of the last year, newest first."""
        oldest = datetime.fromtimestamp(self._clock(), UTC) - timedelta(seconds=HISTORY_SECONDS)
        # Of operations with the same time, the last one added is the newest.
        came_last_first = reversed(self._operations.get(card_id, []))
        kept = (operation for operation in came_last_first if operation.start_time >= oldest)
        return sorted(kept, key=lambda operation: operation.start_time, reverse=True)


class Variant(StrEnum):
    """How a series of notifications is sent."""

    PLAIN = "plain"
    """Each once, with its own id."""
    DUPLICATE = "duplicate"
    """The same one several times."""
    LATE = "late"
    """As plain, of operations an hour ago."""
    OUT_OF_ORDER = "out_of_order"
    """As plain, newest operation first."""
    UNKNOWN_FIELDS = "unknown_fields"
    """As plain, with fields outside the contract, at the top level and in the details."""
    UNKNOWN_VALUES = "unknown_values"
    """As plain, with an operation and a status outside the contract."""


def vary(variant: Variant, first: Notification, count: int) -> list[Notification]:
    """Return notifications in the order of sending.

    Args:
        variant: The variant.
        first: The notification of the oldest operation; further ones follow at intervals of a second.
        count: The number of notifications.
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
    """Return a new operation id."""
    return f"op_{secrets.token_hex(16)}"


def new_details() -> dict[str, str]:
    """Return the details that every operation has."""
    return {"acsTransactionId": str(uuid4()), "threeDSServerTransId": str(uuid4())}


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
