"""Request ids across kills: a sent request is not sent again, and a reply is repeated."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.notification.v1.messages_pb2 import WatchNotificationsRequest
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.contract.card_rpcs import RPCS, prepare
from tests.contract.request_ids import identified, until_held
from tests.e2e.command import d1_gateway
from tests.e2e.watching import EARLIEST, connect, take
from tests.running import failure_of

_CREATE, _REGISTER = RPCS["CreateCard"], RPCS["RegisterCard"]
_COMPLETED = 10
_D1_SECONDS = 2.0
_LEASE_SECONDS = _D1_SECONDS + 5.0
"""As the gateway calculates it."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A gateway that was killed and started again, and what it had been called for."""

    sandbox: Sandbox
    cards: Any
    completed: list[card.CreateCardRequest]
    replies: list[card.CreateCardResponse]
    created: card.CreateCardRequest
    """It was killed between sending this and the response; D1 acted all the same."""
    registered: card.RegisterCardRequest
    """As `created`, of an idempotent call."""
    lease_end: float

    def made(self) -> int:
        """Return the number of cards that D1 has made."""
        return sum(each.created_by_d1 for each in self.sandbox.store.cards())


@pytest.fixture(scope="module")
async def killed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Killed]:
    folder = tmp_path_factory.mktemp("gateway")
    async with Sandbox.start(folder / "keys") as sandbox:
        prepare(sandbox.store)
        # It gives up on D1 early, so that what a dead gateway began is soon known to be over.
        impatient = replace(GatewayConfig.of(sandbox, folder), more={"d1": {"total_timeout_seconds": _D1_SECONDS}})
        async with await GatewayProcess.start(impatient, folder) as gateway:
            completed = [identified(_CREATE) for _ in range(_COMPLETED)]
            created, registered = identified(_CREATE), identified(_REGISTER)
            async with connect(gateway.grpc, sandbox.pki) as channel:
                cards: Any = CardServiceStub(channel)
                replies = [await cards.CreateCard(request, timeout=5) for request in completed]
                for rpc in (_CREATE, _REGISTER):
                    sandbox.faults.add(Fault(operation=rpc.operation, latency_ms=300))
                began = time.time()
                calls = [cards.CreateCard(created, timeout=10), cards.RegisterCard(registered, timeout=10)]
                await until_held(sandbox, len(calls))
                await gateway.restart()
                for call in calls:
                    with pytest.raises(grpc.aio.AioRpcError):
                        await call
            async with connect(gateway.grpc, sandbox.pki) as channel:
                cards = CardServiceStub(channel)
                yield Killed(sandbox, cards, completed, replies, created, registered, began + _LEASE_SECONDS)


async def test_a_gateway_killed_between_request_and_response_does_not_send_again(killed: Killed) -> None:
    made = killed.made()
    assert made == _COMPLETED + 1, "D1 made the card"

    sent_at = time.time()
    early = await failure_of(killed.cards.CreateCard(killed.created, timeout=5))
    assert (early.code, early.reason, early.outcome) == (grpc.StatusCode.ABORTED, "REQUEST_IN_FLIGHT", "NOT_SENT")
    assert early.retry_seconds is not None
    assert early.retry_seconds == pytest.approx(killed.lease_end - sent_at, abs=2.0), "what is left of the lease"
    await asyncio.sleep(early.retry_seconds)
    failure = await failure_of(killed.cards.CreateCard(killed.created, timeout=5))

    assert (failure.code, failure.reason, failure.outcome) == (
        grpc.StatusCode.UNKNOWN,
        "UPSTREAM_NO_RESPONSE",
        "UNKNOWN",
    )
    assert time.time() >= killed.lease_end, "D1 may have been at it until then"
    assert killed.made() == made
    assert await killed.cards.CreateCard(identified(_CREATE), timeout=5) != card.CreateCardResponse()
    assert killed.made() == made + 1, "under a new id it is made"


async def test_an_idempotent_call_is_sent_again_after_a_kill(killed: Killed) -> None:
    await asyncio.sleep(max(0.0, killed.lease_end + 1 - time.time()))

    assert await killed.cards.RegisterCard(killed.registered, timeout=5) == card.RegisterCardResponse()

    ids = [each.card_id for each in killed.sandbox.store.cards()]
    assert ids.count(killed.registered.card_id) == 1


async def test_a_completed_call_gets_the_same_reply_after_a_kill(killed: Killed) -> None:
    made = killed.made()

    again = [await killed.cards.CreateCard(request, timeout=5) for request in killed.completed]

    assert again == killed.replies
    assert len({reply.card_id for reply in again}) == _COMPLETED
    assert killed.made() == made


async def test_a_backup_that_is_restored_without_the_key_is_not_started_and_with_it_repeats_the_reply(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    prepare(sandbox.store)
    config, request = GatewayConfig.of(sandbox, tmp_path), identified(_CREATE)
    key, backup, settings = tmp_path / "d1-gateway.db.key", tmp_path / "backup.db", tmp_path / "d1-gateway.toml"
    async with await GatewayProcess.start(config, tmp_path) as gateway, connect(gateway.grpc, sandbox.pki) as channel:
        first = await CardServiceStub(channel).CreateCard(request, timeout=5)
        cursor = await _cursor(channel)
        assert (await d1_gateway("log", "backup", backup, "--config", settings)).status == 0
    kept = key.read_bytes()
    key.unlink()

    restored = await d1_gateway("log", "restore", backup, "--config", settings)
    refused = await d1_gateway("serve", "--config", settings)

    assert (restored.status, f"but {key} is missing: put that key file back" in restored.stderr) == (0, True)
    line = refused.only_line(2)
    assert f"but {key} is missing. A change that a caller repeats would be sent a second time." in line
    assert not key.exists()
    key.touch(mode=0o600)
    key.write_bytes(kept)
    async with (
        await GatewayProcess.start(config, tmp_path) as gateway,
        connect(gateway.grpc, sandbox.pki) as channel,
    ):
        assert await CardServiceStub(channel).CreateCard(request, timeout=5) == first
        failure = await failure_of(take(channel, WatchNotificationsRequest(after_cursor=cursor), bool))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_UNKNOWN")
        assert await _cursor(channel) != cursor
    assert sum(each.created_by_d1 for each in sandbox.store.cards()) == 1


async def _cursor(channel: grpc.aio.Channel) -> str:
    """Return the cursor at the beginning of the event log."""
    watch = NotificationServiceStub(channel).WatchNotifications(EARLIEST)
    try:
        return (await anext(aiter(watch))).cursor
    finally:
        watch.cancel()
