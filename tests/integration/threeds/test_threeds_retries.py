"""What is repeated, how often and when; and what never is."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from adapters.threeds import HttpThreeDSServer
from gateway.errors import GatewayError
from gateway.ports import Call
from issuer.common.v1 import error_pb2
from tests.integration.threeds.fake_threeds import (
    BREAK,
    CRD,
    HANG,
    PAN,
    RREQ,
    TRANSACTION,
    FakeThreeDS,
    Reply,
    an_areq,
    an_erro,
    call,
    reply,
    running_threeds,
    server_at,
)

TRUNCATED = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
PASSING = [
    BREAK,
    TRUNCATED,
    reply(b"", 429, Retry_After="0"),
    reply(b"", 502),
    reply(b"", 503, Retry_After="0"),
    reply(b"", 504),
    reply(an_erro("403")),
]
NAMES = ["breaks", "truncated", "429", "502", "503", "504", "Erro-403"]
LASTING = [
    reply(b"", 400),
    reply(b"", 401),
    reply(b"", 404),
    reply(b"", 500),
    reply(b"{"),
    reply(an_erro("101")),
    reply(an_erro("402")),
    reply(an_erro("404")),
    reply(an_erro("405")),
]

Ask = Callable[[HttpThreeDSServer, Call], Awaitable[object]]


async def lookup(server: HttpThreeDSServer, made: Call) -> object:
    return await server.lookup(PAN, "", made)


async def authenticate(server: HttpThreeDSServer, made: Call) -> object:
    return await server.authenticate(an_areq(), made)


async def challenge_result(server: HttpThreeDSServer, made: Call) -> object:
    return await server.challenge_result(TRANSACTION, made)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@pytest.mark.parametrize(("ask", "good"), [(lookup, CRD), (challenge_result, RREQ)])
@pytest.mark.parametrize("passing", PASSING, ids=NAMES)
async def test_a_question_is_asked_again_until_it_is_answered(
    threeds: FakeThreeDS, server: HttpThreeDSServer, passing: Reply, ask: Ask, good: dict[str, str]
) -> None:
    threeds.replies = [passing, passing, reply(good)]

    assert await ask(server, call()) is not None
    assert len(threeds.seen) == 3
    assert len({(seen.line, seen.body) for seen in threeds.seen}) == 1


@pytest.mark.parametrize("ask", [lookup, challenge_result])
async def test_a_question_is_asked_three_times_at_most(
    threeds: FakeThreeDS, server: HttpThreeDSServer, ask: Ask
) -> None:
    threeds.replies = [BREAK]

    with pytest.raises(GatewayError) as caught:
        await ask(server, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER
    assert len(threeds.seen) == 3


@pytest.mark.parametrize("ask", [lookup, challenge_result])
@pytest.mark.parametrize("lasting", LASTING)
async def test_a_question_is_not_repeated_where_that_helps_nobody(
    threeds: FakeThreeDS, server: HttpThreeDSServer, lasting: Reply, ask: Ask
) -> None:
    threeds.replies = [lasting]

    with pytest.raises(GatewayError):
        await ask(server, call())

    assert len(threeds.seen) == 1


@pytest.mark.parametrize("passing", PASSING, ids=NAMES)
async def test_an_areq_that_was_sent_is_never_sent_again(
    threeds: FakeThreeDS, server: HttpThreeDSServer, passing: Reply
) -> None:
    threeds.replies = [passing]

    with pytest.raises(GatewayError):
        await authenticate(server, call())

    assert len(threeds.seen) == 1


async def test_an_areq_that_found_no_connection_is_tried_until_there_is_one() -> None:
    port = free_port()
    async with server_at(f"http://127.0.0.1:{port}") as server:
        with pytest.raises(GatewayError) as caught:
            await authenticate(server, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT


async def test_a_server_that_comes_back_in_time_gets_the_areq_once() -> None:
    async with running_threeds(HANG) as first:
        url = first.url
    port = int(url.rpartition(":")[2])
    late = FakeThreeDS(replies=[reply(an_erro("101"))])
    async with server_at(url) as server:
        asking = asyncio.create_task(authenticate(server, call()))
        # After the first attempt, and before the second.
        await asyncio.sleep(0.02)
        listening = await asyncio.start_server(late.serve, "127.0.0.1", port)
        with pytest.raises(GatewayError) as caught:
            await asking
        listening.close()
        await asyncio.gather(*late.connections, return_exceptions=True)
        await listening.wait_closed()

    assert caught.value.reason == error_pb2.ERROR_REASON_THREE_DS_REJECTED
    assert len(late.seen) == 1


async def test_a_question_is_not_repeated_beyond_the_deadline(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(b"", 503, Retry_After="60")]
    started = monotonic()

    with pytest.raises(GatewayError) as caught:
        await lookup(server, call(5))

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE
    assert caught.value.retry_after_seconds == 60
    assert len(threeds.seen) == 1
    assert monotonic() - started < 4


async def test_what_the_server_asks_for_is_waited_for(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(b"", 429, Retry_After="1"), reply(CRD)]
    started = monotonic()

    await lookup(server, call())

    assert monotonic() - started >= 1
    assert len(threeds.seen) == 2


@pytest.mark.parametrize("ask", [lookup, authenticate, challenge_result])
async def test_a_cancelled_call_is_cancelled_and_its_connection_given_up(
    threeds: FakeThreeDS, server: HttpThreeDSServer, ask: Ask
) -> None:
    threeds.replies = [HANG]
    asking = asyncio.ensure_future(ask(server, call()))
    await threeds.arrived(1)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    async with asyncio.timeout(5):
        await threeds.hung_up.wait()
    assert len(threeds.seen) == 1


async def test_a_call_cancelled_while_it_waits_to_repeat_does_not_repeat(
    threeds: FakeThreeDS, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply(b"", 503, Retry_After="5")]
    asking = asyncio.ensure_future(lookup(server, call()))
    await threeds.arrived(1)
    await asyncio.sleep(0.1)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert len(threeds.seen) == 1
