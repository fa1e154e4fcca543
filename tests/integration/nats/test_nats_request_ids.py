"""A call with a request id while NATS hangs: another gateway makes the call that one gave up."""

import asyncio
from uuid import UUID

import pytest

from gateway.errors import GatewayError
from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.replies import IdempotencyStore
from issuer.card.v1 import messages_pb2 as card
from sandbox.nats import NatsServer
from tests.integration.nats.nats_storages import opened, recovered, settings_for_nats
from tests.unit.idempotency.idempotency_calls import Upstream, ask

IDS = [str(UUID(int=number)) for number in range(1, 6)]
# No lease ends within the test.
LEASE_SECONDS = 600.0


async def error_of(replies: IdempotencyStore, upstream: Upstream, request_id: str) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        await ask(replies, upstream, request_id=request_id)
    return caught.value.reason_name, caught.value.outcome_name


async def made(replies: IdempotencyStore, upstream: Upstream, request_id: str) -> card.CreateCardResponse:
    """Repeat a call while its error is REQUEST_IN_FLIGHT; any other error fails."""
    while True:
        try:
            reply = await ask(replies, upstream, request_id=request_id)
        except GatewayError as error:
            if error.reason_name != "REQUEST_IN_FLIGHT":
                raise
            await asyncio.sleep(0.05)
        else:
            assert not reply.is_replay
            assert isinstance(reply.message, card.CreateCardResponse)
            return reply.message


async def test_what_was_given_up_while_nats_hung_another_gateway_makes_soon_after(server: NatsServer) -> None:
    settings, upstream = settings_for_nats(server, timeout_seconds=1.0), Upstream()
    async with opened(settings) as one, opened(settings) as another:
        here, there = (
            IdempotencyStore(
                storage.key_value_store, RecordCipher(b"\x01" * 32), lease_seconds=LEASE_SECONDS, is_shared=True
            )
            for storage in (one, another)
        )
        server.pause()
        refusals = await asyncio.gather(*(error_of(here, upstream, each) for each in IDS))
        assert refusals == [("STORE_UNAVAILABLE", "NOT_SENT")] * len(IDS)
        assert upstream.calls == 0

        server.resume()
        await recovered(another)

        async with asyncio.timeout(30):
            cards = await asyncio.gather(*(made(there, upstream, each) for each in IDS))
        await recovered(one)
        for request_id, each in zip(IDS, cards, strict=True):
            repeat = await ask(here, upstream, request_id=request_id)
            assert (repeat.is_replay, repeat.message) == (True, each)
        assert upstream.calls == len(IDS)
        await here.aclose()
        await there.aclose()
