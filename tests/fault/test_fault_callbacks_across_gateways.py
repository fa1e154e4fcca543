"""The gateway of a callback's handler, or the one that D1 called, is killed, stopped or drained."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from issuer.callback.v1 import messages_pb2 as callback
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.handler import Handler, Responder
from sandbox.nats import NatsServer
from tests.callback_replies import Issuer
from tests.fault.faulty import PATIENCE_SECONDS, until
from tests.fault.processes import Processes, processes
from tests.running import edge_session

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED
LATE = callback.REPLY_OUTCOME_LATE
ALREADY_ANSWERED = callback.REPLY_OUTCOME_ALREADY_ANSWERED
CALLED, FIRST, SECOND = 0, 1, 2
CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1"
INFORMATION, OTP, AUTHENTICATION = "consumer_information", "deliver_otp", "authenticate"
DEADLINES = {INFORMATION: 8.0, OTP: 5.0, AUTHENTICATION: 1.5}
REQUESTS = {
    INFORMATION: ("GET", "", None),
    OTP: ("POST", "/otp", {"otp": {"value": "004211"}}),
    AUTHENTICATION: ("POST", "/authentication", {}),
}
FALLBACK = 500
Call = Callable[[str], "asyncio.Task[int]"]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
async def gateways_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    more = {f"callbacks.{kind}": {"deadline_seconds": seconds} for kind, seconds in DEADLINES.items()}
    folder = tmp_path_factory.mktemp("gateways")
    async with await NatsServer.start(folder / "nats") as nats, processes(folder, 3, [nats.url], more=more) as started:
        yield started


@pytest.fixture
async def gateways(gateways_of_module: Processes) -> Processes:
    await gateways_of_module.heal()
    return gateways_of_module


@pytest.fixture
async def call(gateways: Processes) -> AsyncIterator[Call]:
    """Calls the first gateway as D1. The task returns the status."""
    async with edge_session(gateways.sandbox) as session:

        async def status(kind: str) -> int:
            method, path, body = REQUESTS[kind]
            async with session.request(method, gateways.gateways[CALLED].edge + CONSUMER + path, json=body) as response:
                return response.status

        yield lambda kind: asyncio.create_task(status(kind))


def replying(kind: str) -> Responder:
    return Issuer().responders()[kind]


async def never(request: callback.CallbackRequest) -> None:
    del request


def when(release: asyncio.Event, kind: str) -> Responder:
    async def reply(request: callback.CallbackRequest) -> callback.CallbackReply | None:
        await release.wait()
        return await replying(kind)(request)

    return reply


def handler(gateways: Processes, gateway: int, kind: str, responder: Responder) -> AbstractAsyncContextManager[Handler]:
    """Connect a handler that takes one callback at a time."""
    return Handler.connect(gateways.channels[gateway], {kind: responder}, max_in_flight=1)


async def called(call: Call, kind: str, taker: Handler) -> "asyncio.Task[int]":
    """Call, and wait until a handler has the callback."""
    calling = call(kind)
    await until(lambda: bool(taker.requests))
    return calling


async def until_handled(call: Call, kind: str) -> None:
    """Wait until the called gateway knows a handler."""
    async with asyncio.timeout(30):
        while await call(kind) == FALLBACK:
            pass


def outcomes(taker: Handler) -> list[int]:
    return [each.outcome for each in taker.acknowledgements]


async def test_a_callback_whose_handlers_gateway_is_killed_goes_to_another_handler_or_gets_the_fallback(
    gateways: Processes, call: Call
) -> None:
    async with handler(gateways, FIRST, INFORMATION, never) as lost, handler(gateways, FIRST, OTP, never) as only_one:
        informing = await called(call, INFORMATION, lost)
        sending = await called(call, OTP, only_one)

        await gateways.kill(FIRST)
        async with handler(gateways, SECOND, INFORMATION, replying(INFORMATION)) as other:
            assert await informing == 200
            await until(lambda: bool(other.acknowledgements))
        assert await sending == FALLBACK

    (again,) = other.requests
    assert (again.token, again.attempt) == (lost.requests[0].token, 2)
    assert outcomes(other) == [ACCEPTED]


async def test_a_late_reply_of_a_hung_gateways_handler_is_late_and_d1_has_one_reply(
    gateways: Processes, call: Call
) -> None:
    release = asyncio.Event()
    async with handler(gateways, FIRST, OTP, when(release, OTP)) as hung:
        pending = await called(call, OTP, hung)

        gateways.pause(FIRST)
        async with handler(gateways, SECOND, OTP, replying(OTP)) as other:
            assert await pending == 204
            await until(lambda: bool(other.acknowledgements))
        release.set()
        await asyncio.sleep(0.3)
        assert hung.acknowledgements == []
        gateways.resume(FIRST)

        await until(lambda: bool(hung.acknowledgements))
        assert outcomes(other) == [ACCEPTED]
        assert hung.acknowledgements[0].outcome in {LATE, ALREADY_ANSWERED}
        # It has room again, and is connected again: the next callback succeeds.
        assert await call(OTP) == 204
        await until(lambda: len(hung.acknowledgements) == 2)
        assert hung.acknowledgements[1].outcome == ACCEPTED


async def test_a_callback_that_expired_while_a_gateway_hung_is_not_sent(gateways: Processes, call: Call) -> None:
    async with handler(gateways, FIRST, AUTHENTICATION, replying(AUTHENTICATION)) as hung:
        await until_handled(call, AUTHENTICATION)
        before = len(hung.requests)
        gateways.pause(FIRST)
        assert await call(AUTHENTICATION) == FALLBACK
        gateways.resume(FIRST)

        await until_handled(call, AUTHENTICATION)

        assert len(hung.requests) == before + 1


async def test_a_draining_gateway_lets_its_handlers_reply_to_callbacks_of_its_peers(
    gateways: Processes, call: Call
) -> None:
    release = asyncio.Event()
    async with handler(gateways, FIRST, INFORMATION, when(release, INFORMATION)) as draining:
        pending = await called(call, INFORMATION, draining)

        stopping = asyncio.create_task(gateways.stop(FIRST))
        await until(lambda: draining.is_draining)
        release.set()

        assert await pending == 200
        assert await stopping == 0
        assert outcomes(draining) == [ACCEPTED]


async def test_a_reply_to_a_gateway_that_was_killed_is_late(gateways: Processes, call: Call) -> None:
    release = asyncio.Event()
    async with handler(gateways, FIRST, INFORMATION, when(release, INFORMATION)) as orphaned:
        pending = await called(call, INFORMATION, orphaned)
        await gateways.kill(CALLED)
        await asyncio.gather(pending, return_exceptions=True)

        release.set()
        await until(lambda: bool(orphaned.acknowledgements))

        assert outcomes(orphaned) == [LATE]


async def test_the_page_of_each_gateway_names_its_peers_and_says_where_a_watcher_is_active(gateways: Processes) -> None:
    async def page(gateway: int) -> str:
        async with aiohttp.ClientSession() as session, session.get(gateways.gateways[gateway].admin) as response:
            return await response.text()

    async def until_told(gateway: int, *parts: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [part for part in parts if part not in await page(gateway)]:  # noqa: ASYNC110  a page sends no event
                await asyncio.sleep(0.1)

    request = notification.WatchNotificationsRequest(subscription="operators")
    watch = NotificationServiceStub(gateways.channels[FIRST]).WatchNotifications(request)
    await watch.read()
    ids = [re.findall("This gateway is <code>([0-9a-f]{16})<", await page(gateway))[0] for gateway in range(3)]
    async with handler(gateways, FIRST, OTP, never):
        peer = f'<code>{ids[FIRST]}</code></th><td class="number" data-moves="" data-label="Handlers">1</td>'
        await until_told(CALLED, peer, ids[SECOND], "active at a peer")
        await until_told(SECOND, peer, ids[CALLED], "active at a peer")
        await until_told(FIRST, ids[CALLED], ids[SECOND], "active here")
    watch.cancel()
