"""Calls of `gateway.idempotency.replies.IdempotencyStore`, and an upstream that counts them."""

import asyncio
from uuid import UUID

from gateway.errors import GatewayError, Outcome
from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.replies import IdempotencyStore, Reply
from gateway.idempotency.requests import MutatingRpc
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore

__all__ = ["CREATE", "ID", "LEASE_SECONDS", "REGISTER", "Upstream", "ask", "failure", "instance"]

CREATE = MutatingRpc("issuer.card.v1.CardService.CreateCard", card.CreateCardResponse, repeatable=False)
REGISTER = MutatingRpc("issuer.card.v1.CardService.RegisterCard", card.CreateCardResponse, repeatable=True)
ID = str(UUID(int=1))
LEASE_SECONDS = 15.0


class Upstream:
    """Makes a new card each time that it is called, or fails as it is told; waits while it is not released."""

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


def instance(store: FakeKeyValueStore, key: bytes = b"\x01" * 32) -> IdempotencyStore:
    """Start a gateway on a store."""
    return IdempotencyStore(store, RecordCipher(key), lease_seconds=LEASE_SECONDS, clock=lambda: store.now)


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


def failure(outcome: Outcome) -> GatewayError:
    """Make an error of the upstream."""
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_FAILED,
        "D1 failed.",
        outcome=outcome,
        metadata={"upstream": "d1", "upstream_status": "500"},
    )
