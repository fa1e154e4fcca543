"""Python: the official stubs on grpcio, with asyncio and with threads, and betterproto2's on grpclib."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from grpclib.client import Channel

from d1_gateway_client.testing import Flow, SandboxGateway, Status
from issuer.common.v1 import error_pb2
from issuer.common.v1.error_pb2 import ErrorDetail
from tests.interop.interop_docs import program


class Threads:
    """A program with threads, called as those with asyncio are."""

    def __init__(self, program: SimpleNamespace) -> None:
        self._program = program

    @asynccontextmanager
    async def connect(self, *options: object) -> AsyncIterator[Any]:
        with self._program.connect(*options) as channel:
            yield channel

    async def suspend(self, channel: Any, card: str) -> Any:
        return await asyncio.to_thread(self._program.suspend, channel, card)

    async def watch(self, channel: Any) -> AsyncGenerator[Any, None]:
        with closing(self._program.watch(channel)) as notifications:
            while True:
                yield await asyncio.to_thread(next, notifications)

    async def answer(self, channel: Any, send_sms: Callable[[str, str], Any], ready: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def send(*sms: str) -> None:
            asyncio.run_coroutine_threadsafe(send_sms(*sms), loop).result()

        ready_here = SimpleNamespace(set=lambda: loop.call_soon_threadsafe(ready.set))
        # The thread ends with the channel.
        await asyncio.to_thread(self._program.answer, channel, send, ready_here)


@dataclass(frozen=True, slots=True)
class Client:
    """A program of the document, and its channel."""

    program: Any
    channel: Any


@pytest.fixture(params=["grpcio with asyncio", "grpcio with threads", "betterproto2 on grpclib"])
async def client(request: pytest.FixtureRequest, d1_gateway: SandboxGateway) -> AsyncIterator[Client]:
    made: Any = program(request.param)
    if "threads" in request.param:
        made = Threads(made)
    options = d1_gateway.options
    channel = made.connect(options.address, options.ca_file, options.certificate_file, options.key_file)
    async with channel as opened:
        yield Client(made, opened)
        connection = grpclib_connection(channel) if isinstance(channel, Channel) else None
    if connection is not None:
        # It was told to close, which with TLS takes up to 30 s: servers of gRPC do not say farewell to one who leaves.
        connection.abort()
        while connection.get_extra_info("socket") is not None:  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0)


def grpclib_connection(channel: Channel) -> asyncio.Transport:
    assert channel._protocol is not None
    return channel._protocol.connection._transport


async def test_a_call_succeeds_and_a_refused_one_says_why(client: Client, new_card: Callable[[], str]) -> None:
    card = new_card()
    assert await client.program.suspend(client.channel, card) is None
    refused = await client.program.suspend(client.channel, card)
    if isinstance(refused, ErrorDetail):
        assert refused.reason == error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN
        assert refused.outcome == error_pb2.ERROR_OUTCOME_REJECTED
        assert (refused.upstream, refused.upstream_status) == ("d1", 403)
    else:
        assert refused == ("UPSTREAM_FORBIDDEN", "REJECTED")


async def test_a_watch_brings_earlier_and_new_notifications(
    client: Client, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    assert await d1_gateway.buy(card).ends() is Status.SUCCESSFUL
    seen = []
    async with asyncio.timeout(30), aclosing(client.program.watch(client.channel)) as notifications:
        async for each in notifications:
            if each.card_id != card:
                continue
            seen.append((each.three_ds_operation.type_text, each.three_ds_operation.status_text))
            if len(seen) == 2:
                break
            assert await d1_gateway.buy(card).ends() is Status.SUCCESSFUL
    assert seen == [("3DS_FRICTIONLESS", "SUCCESSFUL")] * 2


async def test_a_purchase_is_paid_with_the_password_that_a_handler_sends(
    client: Client, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card, ready = new_card(), asyncio.Event()
    sent: dict[str, str] = {}

    async def send_sms(consumer_id: str, otp: str) -> None:
        sent[consumer_id] = otp

    answering = asyncio.create_task(client.program.answer(client.channel, send_sms, ready))
    try:
        async with asyncio.timeout(30):
            await ready.wait()
        purchase = d1_gateway.buy(card, Flow.SMS_OTP_ISSUER)
        assert await purchase.rests() is Status.AWAITS_OTP, purchase.error
        assert purchase.type_otp(sent[card.replace("card", "consumer")])
        assert await purchase.ends() is Status.SUCCESSFUL
        assert purchase.answers == [204]
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
