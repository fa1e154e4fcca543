"""Workers that come and go under load: whoever tries again is served, nobody is cut off, nothing is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox import Sandbox
from sandbox.faults import Fault
from sandbox.gateway import credentials
from tests.contract.card_rpcs import prepare
from tests.fault.crew import Crew, crew
from tests.fault.crew_load import Load

pytestmark = pytest.mark.timeout(180)

_STORED = 'd1_gateway_event_log_appends_total{outcome="stored"} '


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys") as started:
        prepare(started.store)
        yield started


@pytest.fixture
async def gateways(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Crew]:
    async with crew(sandbox, tmp_path) as running:
        yield running


def _assert_all_is_delivered_once(load: Load) -> None:
    print(dict(load.done), dict(load.stream_ends))  # noqa: T201 (shown if the test fails)
    assert load.done["rpcs"] > 100
    assert load.done["callbacks"] > 100
    for received in load.received:
        assert len(received) == len(set(received)), "something was delivered twice"
        assert load.acknowledged <= set(received)


async def test_three_rolling_restarts_under_load_fail_nobody_who_tries_again(sandbox: Sandbox, gateways: Crew) -> None:
    load = Load(sandbox, gateways.gateway)
    async with load.run():
        for times in (1, 2, 3):
            await gateways.renew(times)
        await asyncio.sleep(0.5)

    _assert_all_is_delivered_once(load)
    # Each watcher was with one worker or the other, and went on with the next.
    assert set(load.stream_ends) == {"SERVER_DRAINING"}
    assert load.stream_ends["SERVER_DRAINING"] >= 4 * 3
    assert not gateways.events("worker died")
    assert not gateways.events("worker took too long to end")
    assert len(gateways.events("worker ready")) == 2 * 4
    assert {line["worker"] for line in gateways.events("stopped") if "worker" in line} == {1, 2}


async def test_a_worker_that_is_killed_under_load_fails_nobody_who_tries_again(
    sandbox: Sandbox, gateways: Crew
) -> None:
    # Until the supervisor has seen it, connections still come to where nobody is any more.
    load = Load(sandbox, gateways.gateway, most_repeats=5)
    async with load.run():
        await asyncio.sleep(0.5)
        os.kill(gateways.workers[0], signal.SIGKILL)
        await gateways.until_logged("worker ready", 3)
        await asyncio.sleep(0.5)

    _assert_all_is_delivered_once(load)
    assert len(gateways.events("worker died", signal="SIGKILL")) == 1
    assert set(load.stream_ends) <= {"UNAVAILABLE"}


async def test_what_workers_counted_that_are_gone_is_not_forgotten(sandbox: Sandbox, gateways: Crew) -> None:
    load = Load(sandbox, gateways.gateway)
    async with load.run():
        await gateways.renew(1)
    await gateways.renew(2)

    lines = (await gateways.metrics()).splitlines()
    assert [line for line in lines if line.startswith(_STORED)] == [f"{_STORED}{float(len(load.acknowledged))}"]


async def test_workers_whose_supervisor_is_killed_finish_what_they_have_begun(sandbox: Sandbox, gateways: Crew) -> None:
    shown = credentials(sandbox.pki.server_ca, sandbox.pki.caller)
    async with grpc.aio.secure_channel(gateways.gateway.grpc, shown) as channel:
        sandbox.faults.add(Fault("suspendCard", latency_ms=1_500))
        request = card.SuspendCardRequest(card_id="card-active", reason_code=card.SUSPEND_REASON_FRAUD)
        suspending = asyncio.ensure_future(CardServiceStub(channel).SuspendCard(request, timeout=10))
        await asyncio.sleep(0.7)
        await gateways.gateway.kill()

        assert await suspending == card.SuspendCardResponse()
    await gateways.until_logged("stopped", 2)
