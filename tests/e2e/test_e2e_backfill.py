"""A subscriber gets what D1 could not deliver, without anybody asking for it."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from issuer.notification.v1 import messages_pb2 as notification
from sandbox import Sandbox
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.notification import History, Notification
from sandbox.d1.model.store import CardDetails
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from sandbox.nats import NatsServer
from tests.e2e.watching import EARLIEST, connect, operation_ids, take
from tests.fault.faulty import until

_OUTAGE_SECONDS = 2.0


def _cards(sandbox: Sandbox, count: int) -> list[str]:
    sandbox.store.add_consumer("consumer-1")
    details = CardDetails("consumer-1", "light", InitialState.ACTIVE)
    return sorted(sandbox.store.create(details).card_id for _ in range(count))


def _operation(card_id: str, operation_id: str) -> Notification:
    return Notification(card_id, operation_id, datetime.now(UTC))


def _lost(sandbox: Sandbox, card_ids: Sequence[str], name: str) -> set[str]:
    """Let operations happen whose notifications never arrive; return their ids."""
    operations = [_operation(card_id, f"{name}_{number}") for number, card_id in enumerate(card_ids)]
    for operation in operations:
        sandbox.history.add(operation)
    return {operation.operation_id for operation in operations}


async def _notified(sandbox: Sandbox, card_ids: Sequence[str], name: str) -> None:
    for number, card_id in enumerate(card_ids):
        operation = _operation(card_id, f"{name}_{number}")
        sandbox.history.add(operation)
        assert await sandbox.notifier.send(operation) == 204


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often D1 was asked for the history of each card."""
    counted, of = Counter[str](), History.of

    def counting(history: History, card_id: str) -> list[Notification]:
        counted[card_id] += 1
        return of(history, card_id)

    monkeypatch.setattr(History, "of", counting)
    return counted


class _Watcher:
    """Sees everything, and comes back after each kill."""

    def __init__(self) -> None:
        self.seen: list[notification.Notification] = []

    def recovered(self) -> list[str]:
        return operation_ids(each for each in self.seen if each.recovered)


@asynccontextmanager
async def _watching(gateway: GatewayProcess, sandbox: Sandbox) -> AsyncIterator[_Watcher]:
    watcher = _Watcher()

    async def watch() -> None:
        async with connect(gateway.grpc, sandbox.pki) as channel:
            while True:
                watcher.seen = await take(channel, EARLIEST, lambda seen: len(seen) > len(watcher.seen))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch())
        yield watcher
        task.cancel()


@pytest.mark.timeout(120)
async def test_what_d1_could_not_deliver_during_an_outage_or_was_refused_is_fetched(
    sandbox: Sandbox, tmp_path: Path, calls: Counter[str]
) -> None:
    cards = _cards(sandbox, 3)
    settings = {"backfill": {"outage_seconds": _OUTAGE_SECONDS, "calls_per_second": 50.0}}
    config = replace(GatewayConfig.of(sandbox, tmp_path), more=settings)
    async with await GatewayProcess.start(config, tmp_path) as gateway:
        sandbox.set_edge(gateway.edge)
        await _notified(sandbox, cards, "before")
        await asyncio.sleep(1)
        assert not calls, "a first start reads nothing"

        await gateway.kill()
        lost = _lost(sandbox, cards, "killed")
        await asyncio.sleep(_OUTAGE_SECONDS + 0.5)
        await gateway.restart()
        async with _watching(gateway, sandbox) as watcher:
            await until(lambda: set(watcher.recovered()) == lost)

            os.kill(gateway.pid, signal.SIGSTOP)
            lost |= _lost(sandbox, cards, "stopped")
            await asyncio.sleep(_OUTAGE_SECONDS + 0.5)
            os.kill(gateway.pid, signal.SIGCONT)
            await until(lambda: set(watcher.recovered()) == lost)

            calls.clear()
            assert await sandbox.notifier.send(_operation(cards[1], "not an id")) == 400
            lost |= _lost(sandbox, [cards[1]], "refused")
            await until(lambda: set(watcher.recovered()) == lost)
            assert calls.keys() == {cards[1]}
        seen = operation_ids(watcher.seen)
        assert len(seen) == len(set(seen)) == 3 + len(lost)


@pytest.mark.timeout(60)
async def test_a_restart_without_an_outage_reads_nothing(
    sandbox: Sandbox, gateway: GatewayProcess, calls: Counter[str]
) -> None:
    await _notified(sandbox, _cards(sandbox, 2), "op")
    await asyncio.sleep(0.5)
    await gateway.restart()
    await asyncio.sleep(1.5)
    assert not calls
    assert "backfill_gap_found" not in gateway.log.read_text()


@pytest.mark.timeout(180)
async def test_of_a_cluster_one_gateway_reads_and_another_goes_on_where_it_was_killed(
    sandbox: Sandbox, tmp_path: Path, calls: Counter[str]
) -> None:
    cards = _cards(sandbox, 90)
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(await NatsServer.start(tmp_path / "nats"))
        # Longer than a take-over takes.
        settings = {"backfill": {"outage_seconds": 8.0, "calls_per_second": 12.0}}
        shared = SharedStorage.make([nats.url], tmp_path)
        config = replace(GatewayConfig.of(sandbox, tmp_path, shared=shared), more=settings)

        async def start(name: str) -> GatewayProcess:
            folder = tmp_path / name
            folder.mkdir()
            gateway = await GatewayProcess.start(replace(config, event_log=folder / "log.db"), folder)
            stack.push_async_callback(gateway.kill)
            return gateway

        first = await start("first")
        sandbox.set_edge(first.edge)
        await _notified(sandbox, cards, "before")
        await first.kill()
        lost = _lost(sandbox, cards, "lost")
        await asyncio.sleep(8.5)
        both = await asyncio.gather(start("one"), start("two"))
        # Later than the first time that the progress is stored.
        await until(lambda: len(calls) > 65)
        leader, other = sorted(both, key=lambda gateway: "backfill_started" not in gateway.log.read_text())
        assert "backfill_" not in other.log.read_text()
        await leader.kill()
        async with _watching(other, sandbox) as watcher:
            await until(lambda: set(watcher.recovered()) == lost)
        assert len(watcher.seen) == 2 * len(cards)
        assert calls.keys() == set(cards)
        assert max(calls.values()) == 2
        # What was done before the progress was stored is not done again.
        assert sum(count == 1 for count in calls.values()) >= 50
        assert "backfill_gap_found" not in other.log.read_text()
