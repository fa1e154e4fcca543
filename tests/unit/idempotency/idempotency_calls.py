"""Calls of `gateway.idempotency.replies.IdempotencyStore`, how they end, and an upstream that counts them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

import pytest

from gateway.errors import ErrorOutcome, GatewayError
from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.replies import IdempotencyStore, Reply
from gateway.idempotency.requests import MutatingRpc
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore

__all__ = [
    "CREATE",
    "ID",
    "IN_FLIGHT",
    "LEASE_SECONDS",
    "LOST",
    "NOT_STORED",
    "REGISTER",
    "REUSED",
    "Upstream",
    "ask",
    "error_of",
    "failure",
    "failure_of",
    "first",
    "instance",
    "replay",
]

CREATE = MutatingRpc("issuer.card.v1.CardService.CreateCard", card.CreateCardResponse, repeatable=False)
REGISTER = MutatingRpc("issuer.card.v1.CardService.RegisterCard", card.CreateCardResponse, repeatable=True)
ID = str(UUID(int=1))
LEASE_SECONDS = 15.0

IN_FLIGHT = ("REQUEST_IN_FLIGHT", "NOT_SENT")
LOST = ("UPSTREAM_NO_RESPONSE", "UNKNOWN")
NOT_STORED = ("STORE_UNAVAILABLE", "NOT_SENT")
REUSED = ("REQUEST_ID_REUSED", "NOT_SENT")


class Upstream:
    """Makes a new card at each call, or fails; waits while it is not released."""

    def __init__(self) -> None:
        self.calls = 0
        self.failure: Exception | None = None
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()

    async def __call__(self) -> card.CreateCardResponse:
        self.calls += 1
        number = self.calls
        self.reached.set()
        await self.released.wait()
        if self.failure is not None:
            raise self.failure
        return card.CreateCardResponse(card_id=f"card-{number}")

    async def hold(self, call: Coroutine[Any, Any, Reply]) -> "asyncio.Task[Reply]":
        """Start a call, and hold it as soon as it arrives."""
        self.reached.clear()
        self.released.clear()
        task = asyncio.create_task(call)
        await self.reached.wait()
        return task

    async def lose(self, call: Coroutine[Any, Any, Reply]) -> None:
        """Start a call, and end it as a killed instance does: nothing of it runs any more."""
        task = await self.hold(call)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.released.set()


def instance(
    store: FakeKeyValueStore,
    key: bytes = b"\x01" * 32,
    *,
    is_shared: bool = True,
    on_outcome: Callable[[str], object] = lambda _: None,
) -> IdempotencyStore:
    """Start a gateway on a store."""
    return IdempotencyStore(
        store,
        RecordCipher(key),
        lease_seconds=LEASE_SECONDS,
        is_shared=is_shared,
        on_outcome=on_outcome,
        clock=lambda: store.now,
    )


async def ask(
    replies: IdempotencyStore,
    upstream: Upstream,
    *,
    rpc: MutatingRpc = CREATE,
    request_id: str = ID,
    content: bytes = b"a",
) -> Reply:
    """Call."""
    return await replies.reply(rpc, ("caller", "ISSUER0001", request_id), content, upstream)


def first(card_id: str = "card-1") -> Reply:
    """Return the reply of a call that is made."""
    return Reply(card.CreateCardResponse(card_id=card_id), is_replay=False)


def replay(card_id: str = "card-1") -> Reply:
    """Return the reply of a call that was made before."""
    return Reply(card.CreateCardResponse(card_id=card_id), is_replay=True)


async def error_of(call: Awaitable[object]) -> GatewayError:
    """Await a call that must fail."""
    with pytest.raises(GatewayError) as caught:
        await call
    return caught.value


async def failure_of(call: Awaitable[object]) -> tuple[str, str]:
    """Return the reason and the outcome of a call that must fail."""
    error = await error_of(call)
    return error.reason_name, error.outcome_name


def failure(outcome: ErrorOutcome) -> GatewayError:
    """Make an error of the upstream."""
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_FAILED,
        "D1 failed.",
        outcome=outcome,
        detail=error_pb2.ErrorDetail(upstream="d1", upstream_status=500),
    )
