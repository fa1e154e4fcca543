"""In-memory fakes of the ports for unit tests."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from google.protobuf.message import Message

from gateway.errors import GatewayError
from gateway.ports import (
    LISTED_KEY,
    Call,
    Event,
    EventDamagedError,
    EventKind,
    LogBounds,
    Payloads,
    Read,
    Scope,
    StoredEvent,
    StoredSubscription,
)
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds

ISSUER = "ISSUER0001"
_R = TypeVar("_R", bound=Message)


def an_event(
    number: int,
    *,
    issuer_id: str = ISSUER,
    card_id: str = "card-1",
    consumer_id: str = "consumer-1",
    operation_type: "threeds.ThreeDSOperationType.ValueType" = threeds.THREE_DS_OPERATION_TYPE_FRICTIONLESS,
    status: "threeds.ThreeDSOperationStatus.ValueType" = threeds.THREE_DS_OPERATION_STATUS_SUCCESSFUL,
    receive_time_ms: int | None = None,
    recovered: bool = False,
) -> Event:
    """Return the event of the operation ``op-<number>``, received in the second of its number unless given."""
    taken_ms = 1000 * number if receive_time_ms is None else receive_time_ms
    operation = threeds.ThreeDSOperation(
        operation_id=f"op-{number}", type=operation_type, status=status, consumer_id=consumer_id
    )
    taken = notification.Notification(
        issuer_id=issuer_id,
        card_id=card_id,
        consumer_id=consumer_id,
        recovered=recovered,
        three_ds_operation=operation,
    )
    taken.receive_time.FromMilliseconds(taken_ms)
    return Event(
        issuer_id=issuer_id,
        kind=EventKind.THREE_DS_OPERATION,
        subject_id=card_id,
        operation_id=operation.operation_id,
        consumer_id=consumer_id,
        operation_type=operation_type,
        status=status,
        receive_time_ms=taken_ms,
        payload=taken.SerializeToString(),
    )


def a_consumer_event(
    number: int,
    *,
    issuer_id: str = ISSUER,
    consumer_id: str = "consumer-1",
    operation_type: "consumer.ConsumerOperationType.ValueType" = consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN,
    status: "consumer.ConsumerOperationStatus.ValueType" = consumer.CONSUMER_OPERATION_STATUS_SUCCESSFUL,
) -> Event:
    """Return the event of a consumer operation, otherwise as `an_event`."""
    operation = consumer.ConsumerOperation(operation_id=f"op-{number}", type=operation_type, status=status)
    taken = notification.Notification(issuer_id=issuer_id, consumer_id=consumer_id, consumer_operation=operation)
    taken.receive_time.FromMilliseconds(1000 * number)
    return Event(
        issuer_id=issuer_id,
        kind=EventKind.CONSUMER_OPERATION,
        subject_id=consumer_id,
        operation_id=operation.operation_id,
        consumer_id=consumer_id,
        operation_type=operation_type,
        status=status,
        receive_time_ms=1000 * number,
        payload=taken.SerializeToString(),
    )


def _is_in(scope: Scope | None, event: Event) -> bool:
    return scope is None or (
        scope.issuer_id == event.issuer_id
        and scope.kind in (None, event.kind)
        and scope.subject_id in (None, event.subject_id)
    )


async def _next_turn() -> None:
    await asyncio.sleep(0)


class FakeEventLog:
    """A `gateway.ports.EventLog` in lists.

    Every call yields to the event loop before it acts and before it returns, as with real storage; ``turn`` makes these
    pauses longer.
    """

    def __init__(self, *, log_id: str = "0a1b2c3d", turn: Callable[[], Awaitable[None]] = _next_turn) -> None:
        self.log_id = log_id
        self.held: list[StoredEvent] = []
        self.subscriptions: dict[tuple[str, str], StoredSubscription] = {}
        self.read_count = 0
        self.damage: set[str] = set()
        self.damaged_events: set[str] = set()
        self.damaged: dict[int, bool] = {}
        """Sequences of damaged events, and whether they were skipped."""
        self._turn = turn
        self._bounds = LogBounds(trimmed_through=0, last=0)
        self._failing = False
        self._changed = asyncio.Event()

    def fail(self) -> None:
        """Fail every call from now on, including pending waits."""
        self._failing = True
        self._wake()

    def recover(self) -> None:
        """Stop failing."""
        self._failing = False

    def put(self, event: Event, *, gap: int = 0) -> int:
        """Store an event at once, duplicates included, after a gap of unused sequences; return its sequence."""
        sequence = self._bounds.last + gap + 1
        self.held.append(StoredEvent(sequence, event))
        self._bounds = replace(self._bounds, last=sequence)
        self._wake()
        return sequence

    def trim(self, through: int) -> None:
        """Remove all events up to a sequence."""
        self.held = [stored for stored in self.held if stored.sequence > through]
        self._bounds = replace(self._bounds, trimmed_through=max(through, self._bounds.trimmed_through))

    async def append(self, event: Event) -> bool:
        await self._reach()
        if any(held.event.identity == event.identity for held in self.held):
            return False
        self.put(event)
        await self._turn()
        return True

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        return [await self.append(event) for event in events]

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        self.read_count += 1
        await self._reach()
        wanted = [stored for stored in self.held if stored.sequence > after and _is_in(scope, stored.event)]
        found = list(itertools.takewhile(lambda stored: stored.sequence not in self.damaged, wanted[:limit]))
        if wanted and not found:
            raise EventDamagedError(wanted[0].sequence, is_skipped=self.damaged[wanted[0].sequence])
        through = found[-1].sequence if found else after
        if scope is not None and len(found) == len(wanted):
            through = max(after, self._bounds.last)
        bounds = self._bounds
        await self._turn()
        return Read(found, through, bounds)

    async def read_payloads(self, after: int, limit: int, issuer_id: str) -> Payloads:
        return Payloads.of(await self.read(after, limit), lambda event: event.issuer_id == issuer_id)

    async def skip(self, sequence: int) -> bool:
        await self._reach()
        if sequence in self.damaged:
            self.damaged[sequence] = True
        return sequence in self.damaged

    async def bounds(self) -> LogBounds:
        await self._reach()
        bounds = self._bounds
        await self._turn()
        return bounds

    async def sequence_before(self, receive_time_ms: int) -> int:
        await self._reach()
        places = [stored.sequence for stored in self.held if stored.event.receive_time_ms >= receive_time_ms]
        return places[0] - 1 if places else self._bounds.last

    async def wait_beyond(self, sequence: int) -> None:
        await self._reach()
        while self._bounds.last <= sequence:
            await self._changed.wait()
            await self._reach()

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        await self._reach()
        return self.subscriptions.get((issuer_id, name))

    async def list_subscriptions(
        self, issuer_id: str | None = None, *, after: str = "", limit: int | None = None
    ) -> Sequence[StoredSubscription]:
        await self._reach()
        keys = [key for key in sorted(self.subscriptions) if issuer_id in (None, key[0]) and key[1] > after]
        return [self.subscriptions[key] for key in keys[:limit]]

    async def create_subscription(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> bool:
        await self._reach()
        if (issuer_id, name) in self.subscriptions:
            return False
        self._store(StoredSubscription(issuer_id, name, sequence, commit_time_ms))
        return True

    async def commit(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int = 0
    ) -> StoredSubscription:
        await self._reach()
        standing = self.subscriptions.get((issuer_id, name))
        if standing is None:
            return self._store(StoredSubscription(issuer_id, name, sequence, commit_time_ms))
        return self._store(standing.committed_at(sequence, commit_time_ms, fencing_token))

    async def begin_watch(self, issuer_id: str, name: str, fencing_token: int) -> StoredSubscription | None:
        await self._reach()
        standing = self.subscriptions.get((issuer_id, name))
        return None if standing is None else self._store(standing.watched_with(fencing_token))

    async def reset_subscription(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int
    ) -> StoredSubscription | None:
        await self._reach()
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)
        standing = self.subscriptions.get((issuer_id, name), first)
        changed = standing.reset_to(sequence, commit_time_ms, fencing_token)
        return None if changed is None else self._store(changed)

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        await self._reach()
        return self.subscriptions.pop((issuer_id, name), None) is not None

    def _store(self, subscription: StoredSubscription) -> StoredSubscription:
        self.subscriptions[subscription.issuer_id, subscription.name] = subscription
        return subscription

    async def _reach(self) -> None:
        await self._turn()
        if self._failing:
            raise GatewayError(
                error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE, "The event log cannot be used.", retry_after_seconds=1.0
            )

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class FakeKeyValueStore:
    """A `gateway.ports.KeyValueStore` in a dictionary, with a clock that tests advance.

    Every call yields to the event loop before it acts, as with real storage.
    """

    def __init__(self) -> None:
        self.now = 0.0
        """In seconds."""
        self.call_count = 0
        self._held: dict[str, tuple[bytes, float]] = {}
        self._failing = False

    def fail(self) -> None:
        """Fail every call from now on."""
        self._failing = True

    def recover(self) -> None:
        """Stop failing."""
        self._failing = False

    async def get(self, key: str) -> bytes | None:
        await self._reach()
        return self._standing(key)

    async def wait(self, key: str, seconds: float) -> bytes | None:
        deadline = asyncio.get_running_loop().time() + seconds
        while (value := await self.get(key)) is None and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return value

    async def keys(self, prefix: str, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        await self._reach()
        below = (key for key in sorted(self._held) if key.startswith(f"{prefix}.") and LISTED_KEY.fullmatch(key))
        return [key for key in below if key > after and self._standing(key) is not None][:limit]

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        await self._reach()
        standing = self._standing(key)
        if standing is None:
            self._held[key] = value, self.now + ttl_seconds
        return standing

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        await self._reach()
        self._held[key] = value, self.now + ttl_seconds

    async def delete(self, key: str, value: bytes) -> None:
        await self._reach()
        if self._standing(key) == value:
            del self._held[key]

    def _standing(self, key: str) -> bytes | None:
        value, expiry = self._held.get(key, (None, 0.0))
        return value if self.now < expiry else None

    async def _reach(self) -> None:
        self.call_count += 1
        await _next_turn()
        if self._failing:
            raise GatewayError(
                error_pb2.ERROR_REASON_STORE_UNAVAILABLE, "The store cannot be used.", retry_after_seconds=1.0
            )


class _FakeLease:
    def __init__(self, fencing_token: int, on_loss: Callable[[], None]) -> None:
        self.fencing_token = fencing_token
        self.on_loss = on_loss
        self.has_ended = False

    def is_held(self) -> bool:
        return not self.has_ended


class FakeSubscriptionLeases:
    """A `gateway.ports.SubscriptionLeases`; tests act as the other gateways, by subscription name.

    An attempt yields to the event loop before the decision and before the result.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], _FakeLease] = {}
        self.elsewhere: dict[str, int] = {}
        """The number of watchers at other gateways."""
        self.attempts = 0
        self._here: dict[tuple[str, str], int] = {}
        self._taken_elsewhere: set[str] = set()
        self._fence = 0
        self._changed = asyncio.Event()

    def take_elsewhere(self, name: str) -> None:
        """Give a lease to another gateway. Its holder here notices by itself."""
        self._fence += 1
        self._taken_elsewhere.add(name)
        for (_, held), lease in self.held.items():
            if held == name:
                lease.has_ended = True

    def tell_losses(self) -> None:
        """Notify the holders of lost leases."""
        for lease in self.held.values():
            if lease.has_ended:
                lease.on_loss()

    def free_elsewhere(self, name: str) -> None:
        """Release the lease of another gateway."""
        self._taken_elsewhere.remove(name)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        self._here[issuer_id, name] = count
        if not count and (lease := self.held.pop((issuer_id, name), None)):
            lease.has_ended = True

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> _FakeLease | None:
        self.attempts += 1
        await _next_turn()
        if name in self._taken_elsewhere or not self._here.get((issuer_id, name)):
            return None
        self._fence += 1
        lease = _FakeLease(self._fence, on_loss)
        if replaced := self.held.pop((issuer_id, name), None):
            replaced.has_ended = True
        self.held[issuer_id, name] = lease
        await _next_turn()
        return lease

    async def wait_free(self, issuer_id: str, name: str) -> None:
        del issuer_id
        while name in self._taken_elsewhere:
            await self._changed.wait()

    async def is_taken(self, issuer_id: str, name: str) -> bool:
        await _next_turn()
        held = self.held.get((issuer_id, name))
        return name in self._taken_elsewhere or (held is not None and held.is_held())

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        sums = dict(self.elsewhere)
        for (issuer, name), count in self._here.items():
            if issuer == issuer_id:
                sums[name] = sums.get(name, 0) + count
        return {name: count for name, count in sums.items() if count}


class FakeCardIssuer:
    """A `gateway.ports.CardIssuer` that records requests, and responds, fails or blocks as set."""

    def __init__(self) -> None:
        self.asked: list[tuple[Message, Call]] = []
        self.failure: Exception | None = None
        self.holds_back = False
        self.reached = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def create_card(self, request: card.CreateCardRequest, call: Call) -> card.CreateCardResponse:
        return await self._take(request, call, card.CreateCardResponse(card_id="card-made"))

    async def register_card(self, request: card.RegisterCardRequest, call: Call) -> card.RegisterCardResponse:
        return await self._take(request, call, card.RegisterCardResponse())

    async def renew_card(self, request: card.RenewCardRequest, call: Call) -> card.RenewCardResponse:
        return await self._take(request, call, card.RenewCardResponse())

    async def replace_card(self, request: card.ReplaceCardRequest, call: Call) -> card.ReplaceCardResponse:
        return await self._take(request, call, card.ReplaceCardResponse())

    async def delete_card(self, request: card.DeleteCardRequest, call: Call) -> card.DeleteCardResponse:
        return await self._take(request, call, card.DeleteCardResponse())

    async def suspend_card(self, request: card.SuspendCardRequest, call: Call) -> card.SuspendCardResponse:
        return await self._take(request, call, card.SuspendCardResponse())

    async def resume_card(self, request: card.ResumeCardRequest, call: Call) -> card.ResumeCardResponse:
        return await self._take(request, call, card.ResumeCardResponse())

    async def _take(self, request: Message, call: Call, response: _R) -> _R:
        self.asked.append((request, call))
        self.reached.set()
        if self.failure is not None:
            raise self.failure
        if self.holds_back:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return response
