"""The gateway of a callback's handler, or the one that D1 called, is killed, stopped or drained."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from issuer.callback.v1 import messages_pb2 as callback
from sandbox.handler import Responder
from tests.callback_replies import tell_person
from tests.fault.callback_cluster import CallbackCluster, gateways, until

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED
LATE = callback.REPLY_OUTCOME_LATE
ALREADY_ANSWERED = callback.REPLY_OUTCOME_ALREADY_ANSWERED
CALLED, FIRST, SECOND = 0, 1, 2
pytestmark = pytest.mark.timeout(120)


async def never(request: callback.Question) -> None:
    del request


def when(release: asyncio.Event) -> Responder:
    async def reply(request: callback.Question) -> callback.Reply:
        await release.wait()
        return await tell_person(request)

    return reply


def calling(cluster: CallbackCluster) -> "asyncio.Task[int]":
    return asyncio.create_task(cluster.call(CALLED))


async def test_a_callback_whose_handlers_gateway_is_killed_goes_to_a_handler_elsewhere(tmp_path: Path) -> None:
    async with gateways(tmp_path, 3, deadline_seconds=8.0) as cluster, cluster.handler(FIRST, never) as lost:
        await cluster.know_each_other()
        pending = calling(cluster)
        await until(lambda: bool(lost.requests))

        await cluster.gateways[FIRST].kill()
        began = time.monotonic()
        async with cluster.handler(SECOND, tell_person) as other:
            assert await pending == 200
            # A peer counts as gone after three seconds of silence, before half of the deadline is over.
            assert time.monotonic() - began < 7.0
            await until(lambda: bool(other.acknowledgements))

    (again,) = other.requests
    assert (again.token, again.attempt) == (lost.requests[0].token, 2)
    assert [each.outcome for each in other.acknowledgements] == [ACCEPTED]


async def test_a_callback_whose_handlers_gateway_is_killed_gets_the_fallback_without_another_handler(
    tmp_path: Path,
) -> None:
    async with gateways(tmp_path, 2, deadline_seconds=2.0) as cluster, cluster.handler(FIRST, never) as lost:
        await cluster.know_each_other()
        pending = calling(cluster)
        await until(lambda: bool(lost.requests))
        began = time.monotonic()

        await cluster.gateways[FIRST].kill()

        assert await pending == 500
        assert time.monotonic() - began < 5.0


async def test_a_late_reply_of_a_hung_gateways_handler_is_late_and_d1_has_one_reply(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with (
        gateways(tmp_path, 3, deadline_seconds=4.0) as cluster,
        cluster.handler(FIRST, when(release)) as hung,
    ):
        await cluster.know_each_other()
        pending = calling(cluster)
        await until(lambda: bool(hung.requests))

        os.kill(cluster.gateways[FIRST].pid, signal.SIGSTOP)
        async with cluster.handler(SECOND, tell_person) as other:
            assert await pending == 200
            await until(lambda: bool(other.acknowledgements))
        release.set()
        await asyncio.sleep(1.0)
        assert hung.acknowledgements == []
        os.kill(cluster.gateways[FIRST].pid, signal.SIGCONT)

        await until(lambda: bool(hung.acknowledgements))
        assert [each.outcome for each in other.acknowledgements] == [ACCEPTED]
        assert hung.acknowledgements[0].outcome in {LATE, ALREADY_ANSWERED}
        # It has room again, and is connected again: the next callback succeeds.
        assert await cluster.call(CALLED) == 200
        await until(lambda: len(hung.acknowledgements) == 2)
        assert hung.acknowledgements[1].outcome == ACCEPTED


async def test_a_callback_that_expired_while_a_gateway_hung_is_not_sent(tmp_path: Path) -> None:
    async with (
        gateways(tmp_path, 2, deadline_seconds=1.0) as cluster,
        cluster.handler(FIRST, tell_person) as hung,
    ):
        await cluster.know_each_other()
        assert await cluster.call(CALLED) == 200
        os.kill(cluster.gateways[FIRST].pid, signal.SIGSTOP)
        assert await cluster.call(CALLED) == 500
        os.kill(cluster.gateways[FIRST].pid, signal.SIGCONT)

        await asyncio.sleep(1.5)
        assert await cluster.call(CALLED) == 200

        assert len(hung.requests) == 2


async def test_a_draining_gateway_lets_its_handlers_reply_to_callbacks_of_its_peers(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with (
        gateways(tmp_path, 2, deadline_seconds=8.0) as cluster,
        cluster.handler(FIRST, when(release)) as handler,
    ):
        await cluster.know_each_other()
        pending = calling(cluster)
        await until(lambda: bool(handler.requests))

        stopping = asyncio.create_task(cluster.gateways[FIRST].stop())
        await until(lambda: handler.is_draining)
        release.set()

        assert await pending == 200
        assert await stopping == 0
        assert [each.outcome for each in handler.acknowledgements] == [ACCEPTED]


async def test_a_reply_to_a_gateway_that_was_killed_is_late(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with (
        gateways(tmp_path, 2, deadline_seconds=30.0) as cluster,
        cluster.handler(FIRST, when(release)) as handler,
    ):
        await cluster.know_each_other()
        pending = calling(cluster)
        await until(lambda: bool(handler.requests))
        await cluster.gateways[CALLED].kill()
        await asyncio.gather(pending, return_exceptions=True)

        release.set()
        await until(lambda: bool(handler.acknowledgements))

        assert [each.outcome for each in handler.acknowledgements] == [LATE]
