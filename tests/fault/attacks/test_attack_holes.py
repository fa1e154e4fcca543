"""Half of D1's notifications get lost: watchers end with exactly what D1's history has, each operation once."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from issuer.notification.v1.messages_pb2 import BackfillNotificationsRequest
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.common.faults import Fault
from sandbox.nats import NatsServer
from tests.fault.attacks.holes import EDGE_TIMEOUT_SECONDS, Holes, holes
from tests.fault.attacks.scale import SCALE
from tests.fault.cluster.following import passing
from tests.fault.faulty import until
from tests.fault.processes import Processes, during, processes

_CARDS: Final = 20 * SCALE
_PURCHASES: Final = 200 * SCALE
_SECONDS: Final = 8.0 if SCALE == 1 else 12.0 * SCALE
_TIMEOUT: Final = 180 * SCALE
_SEED: Final = "D1_FAULT_SEED"
_BACKFILL: Final = {"calls_per_second": 50.0, "outage_seconds": 1.0}
_SWEEPING: Final = {"backfill": {**_BACKFILL, "sweep_seconds": 2.0}}
_NOTICING: Final = {"backfill": _BACKFILL}
_HOUR_SECONDS: Final = 3600
_PAUSE_SECONDS: Final = 0.5
_AT_ONCE: Final = 5
_SLOWLY: Final = Fault("list3dsOperations", latency_ms=100, for_ms=600_000)


@pytest.fixture
def seed() -> str:
    """The seed of all random choices in a test; set it to that of a failed run to repeat its choices."""
    chosen = os.environ.get(_SEED) or str(random.SystemRandom().getrandbits(32))
    # Shown by pytest if the test fails.
    print(f"{_SEED}={chosen}")  # noqa: T201
    return chosen


@pytest.mark.timeout(_TIMEOUT)
@pytest.mark.parametrize("settings", [_SWEEPING, _NOTICING], ids=["sweeps", "only what the gateway notices"])
async def test_a_watcher_ends_with_all_that_d1_could_not_deliver(
    tmp_path: Path, seed: str, settings: Mapping[str, Any]
) -> None:
    async with (
        processes(tmp_path, 1, [], edge_timeout_seconds=EDGE_TIMEOUT_SECONDS, more=settings) as gateways,
        holes(gateways, _CARDS, seed) as made,
    ):
        trouble = made.trouble(only_noticed=settings is _NOTICING)
        async with trouble, during(partial(_backfill_some, made)):
            await made.buy(_PURCHASES, _SECONDS)

        made.check(await made.settle())


@pytest.mark.timeout(_TIMEOUT)
async def test_so_does_a_watcher_of_a_cluster_of_which_one_gateway_is_killed_during_the_backfill(
    tmp_path: Path, seed: str
) -> None:
    async with (
        await NatsServer.start(tmp_path / "nats") as nats,
        processes(tmp_path, 2, [nats.url], edge_timeout_seconds=EDGE_TIMEOUT_SECONDS, more=_SWEEPING) as gateways,
        holes(gateways, _CARDS, seed) as made,
    ):
        async with made.trouble():
            await made.buy(_PURCHASES, _SECONDS)
        gateways.sandbox.faults.add(_SLOWLY)
        await made.lose_one_of_each_card()
        killed = await _kill_the_leader(gateways)
        missing = made.missing()
        await made.complete()
        await gateways.start(killed)

        made.check(await made.settle())
    assert missing, "the backfill was over before the kill"


async def _kill_the_leader(gateways: Processes) -> int:
    """Kill the gateway that begins the next backfill, a moment later, and return its number."""
    logs = [gateway.log for gateway in gateways.gateways]
    before = [_starts(log) for log in logs]
    await until(lambda: [_starts(log) for log in logs] != before)
    (leader,) = (number for number, log in enumerate(logs) if _starts(log) != before[number])
    await asyncio.sleep(_PAUSE_SECONDS)
    await gateways.kill(leader)
    return leader


def _starts(log: Path) -> int:
    return log.read_bytes().count(b'"event":"backfill_started"')


async def _backfill_some(made: Holes, ending: asyncio.Event) -> None:
    """Order a few cards again and again, while their notifications arrive."""
    chance = random.Random(made.seed)  # noqa: S311 - no secret
    while not ending.is_set():
        with passing():
            async for _ in _backfill(chance.choice(made.gateways.channels), chance.sample(made.cards, _AT_ONCE)):
                pass
        await asyncio.sleep(_PAUSE_SECONDS)


async def _backfill(channel: grpc.aio.Channel, card_ids: Sequence[str]) -> AsyncIterator[str]:
    """Yield each card that is done."""
    request = BackfillNotificationsRequest(card_ids=card_ids)
    request.since_time.GetCurrentTime()
    request.since_time.seconds -= _HOUR_SECONDS
    calling = NotificationServiceStub(channel).BackfillNotifications(request, wait_for_ready=True)
    try:
        async for response in calling:
            if response.HasField("card"):
                assert not response.card.HasField("error"), response
                yield response.card.card_id
    finally:
        calling.cancel()
