"""What both adapters do alike: deadlines, retries, cancellation, connections."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.ports.meter import Unmeasured
from tests.integration.upstreams.both_upstreams import UPSTREAMS, Calls, Upstream
from tests.integration.upstreams.fake_upstream import (
    BREAK,
    HANG,
    TRUNCATED,
    FakeUpstream,
    Reply,
    Seen,
    call,
    failure_of,
    kind_of,
    reply,
    running,
)

PASSING = {
    "breaks": BREAK,
    "truncated": TRUNCATED,
    "429": reply(status=429, Retry_After="0"),
    "502": reply(status=502),
    "503": reply(status=503, Retry_After="0"),
    "504": reply(status=504),
}


@pytest.fixture(params=UPSTREAMS, ids=lambda upstream: upstream.name)
def upstream(request: pytest.FixtureRequest) -> Upstream:
    chosen: Upstream = request.param
    return chosen


@pytest.fixture
async def fake(upstream: Upstream) -> AsyncIterator[FakeUpstream]:
    async with running(upstream.fake()) as started:
        yield started


@pytest.fixture
async def calls(upstream: Upstream, fake: FakeUpstream) -> AsyncIterator[Calls]:
    # A call that goes beyond its deadline is ended by pytest.
    async with upstream.connected(fake.url, total_timeout_seconds=600.0, max_attempts=3) as connected:
        yield connected


@pytest.mark.parametrize("calls_before", [0, 1])
async def test_after_its_deadline_a_call_is_not_sent(
    upstream: Upstream, fake: FakeUpstream, calls: Calls, calls_before: int
) -> None:
    fake.replies = [upstream.changed]
    for _ in range(calls_before):
        await calls.change(call())

    error = await failure_of(calls.change(call(0)))

    assert kind_of(error) == ("DEADLINE_EXCEEDED", "NOT_SENT")
    assert error.metadata == {"upstream": upstream.name}
    assert len(fake.calls) == calls_before
    assert calls_before or fake.seen == []


async def test_the_callers_deadline_ends_a_call_that_hangs(
    upstream: Upstream, fake: FakeUpstream, calls: Calls
) -> None:
    fake.replies = [upstream.changed, HANG]
    await calls.change(call())
    began = asyncio.get_running_loop().time()

    error = await failure_of(calls.change(call(0.2)))

    assert kind_of(error) == ("DEADLINE_EXCEEDED", "UNKNOWN")
    assert asyncio.get_running_loop().time() - began > 0.15
    assert len(fake.calls) == 2


async def test_the_gateways_own_limit_ends_a_call_that_hangs(upstream: Upstream, fake: FakeUpstream) -> None:
    fake.replies = [upstream.changed, HANG]
    async with upstream.connected(fake.url, total_timeout_seconds=1.0, connect_timeout_seconds=1.0) as calls:
        await calls.change(call())
        errors = await asyncio.gather(*(failure_of(calls.change(call(seconds))) for seconds in (None, 600.0)))

    assert {kind_of(error) for error in errors} == {("DEADLINE_EXCEEDED", "UNKNOWN")}


@pytest.mark.parametrize("name", Calls._fields)
async def test_a_cancelled_call_is_cancelled_and_its_connection_given_up(
    fake: FakeUpstream, calls: Calls, name: str
) -> None:
    fake.replies = [HANG]
    made = asyncio.ensure_future(getattr(calls, name)(call()))
    async with asyncio.timeout(30):
        while not fake.calls:
            await fake.arrived(len(fake.seen) + 1)

    made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await made

    async with asyncio.timeout(30):
        await fake.hung_up.wait()
    assert len(fake.calls) == 1


@pytest.mark.parametrize("passing", PASSING.values(), ids=PASSING)
async def test_a_query_is_repeated_until_it_is_replied_to(
    upstream: Upstream, fake: FakeUpstream, calls: Calls, passing: Reply
) -> None:
    fake.replies = [passing, passing, upstream.found]

    assert await calls.query(call()) is not None
    assert len(fake.calls) == 3
    assert len({(seen.method, seen.path, seen.body) for seen in fake.calls}) == 1


async def test_a_query_is_sent_three_times_at_most(fake: FakeUpstream, calls: Calls) -> None:
    fake.replies = [TRUNCATED]

    assert kind_of(await failure_of(calls.query(call()))) == ("UPSTREAM_NO_ANSWER", "UNKNOWN")
    assert len(fake.calls) == 3


@pytest.mark.parametrize("passing", PASSING.values(), ids=PASSING)
async def test_a_change_that_was_sent_is_never_sent_again(fake: FakeUpstream, calls: Calls, passing: Reply) -> None:
    fake.replies = [passing]

    await failure_of(calls.change(call()))

    assert len(fake.calls) == 1


async def test_a_change_that_finds_no_connection_was_not_sent(fake: FakeUpstream, calls: Calls) -> None:
    await fake.stop()

    assert kind_of(await failure_of(calls.change(call()))) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")


class _Retries(Unmeasured):
    """Tells when a call is about to be repeated."""

    def __init__(self) -> None:
        self.first = asyncio.Event()

    def retried(self, upstream: str, endpoint: str) -> None:
        del upstream, endpoint
        self.first.set()


async def test_an_upstream_that_comes_back_in_time_gets_a_change_once(upstream: Upstream, fake: FakeUpstream) -> None:
    fake.replies = [replace(upstream.changed, then="closes"), upstream.changed]
    retries = _Retries()
    async with upstream.connected(fake.url, None, retries, total_timeout_seconds=600.0, max_attempts=10) as calls:
        await calls.change(call())
        await fake.stop()
        made = asyncio.ensure_future(calls.change(call()))
        await retries.first.wait()
        await fake.start()
        await made

    assert len(fake.calls) == 2


async def test_a_query_is_not_repeated_beyond_its_deadline(fake: FakeUpstream, calls: Calls) -> None:
    fake.replies = [reply(status=503, Retry_After="300")]

    error = await failure_of(calls.query(call(120)))

    assert kind_of(error) == ("UPSTREAM_UNAVAILABLE", "REJECTED")
    assert error.retry_after_seconds == 300
    assert len(fake.calls) == 1


async def test_the_pause_that_an_upstream_requests_is_made(
    upstream: Upstream, fake: FakeUpstream, calls: Calls
) -> None:
    fake.replies = [reply(status=429, Retry_After="1"), upstream.found]
    began = asyncio.get_running_loop().time()

    await calls.query(call())

    assert asyncio.get_running_loop().time() - began >= 1
    assert len(fake.calls) == 2


STATUSES = {
    # What a call comes to, and what it comes to at the 3DS server where that differs.
    302: ("UPSTREAM_CONTRACT", "UNKNOWN"),
    400: ("UPSTREAM_INVALID", "REJECTED"),
    403: ("UPSTREAM_FORBIDDEN", "REJECTED"),
    404: ("UPSTREAM_NOT_FOUND", "REJECTED"),
    405: ("UPSTREAM_INVALID", "REJECTED"),
    409: ("UPSTREAM_CONFLICT", "REJECTED"),
    413: ("UPSTREAM_INVALID", "REJECTED"),
    422: ("UPSTREAM_INVALID", "REJECTED"),
    429: ("UPSTREAM_RATE_LIMITED", "REJECTED"),
    500: ("UPSTREAM_FAILED", "UNKNOWN"),
    502: ("UPSTREAM_UNAVAILABLE", "UNKNOWN"),
    503: ("UPSTREAM_UNAVAILABLE", "REJECTED"),
    504: ("UPSTREAM_UNAVAILABLE", "UNKNOWN"),
    505: ("UPSTREAM_FAILED", "UNKNOWN"),
}
AT_THREEDS = {
    403: ("UPSTREAM_AUTHENTICATION", "REJECTED"),
    404: ("UPSTREAM_CONTRACT", "REJECTED"),
    405: ("UPSTREAM_CONTRACT", "REJECTED"),
    409: ("UPSTREAM_INVALID", "REJECTED"),
}


@pytest.mark.parametrize("body", [b"<html></html>", b'{"errorCode":"SOME_CODE","error":"some text"}'])
@pytest.mark.parametrize("status", STATUSES)
async def test_an_error_status_reaches_the_caller_as_its_reason_after_one_change(
    upstream: Upstream, fake: FakeUpstream, calls: Calls, status: int, body: bytes
) -> None:
    fake.replies = [reply(body, status, Location=f"{fake.url}/elsewhere", Retry_After="30")]

    error = await failure_of(calls.change(call()))

    special = AT_THREEDS if upstream.name == "threeds" else {}
    assert kind_of(error) == special.get(status, STATUSES[status])
    assert error.retry_after_seconds == (30 if status in {429, 503} else None)
    code = {"upstream_code": "SOME_CODE"} if upstream.name == "d1" and b"CODE" in body else {}
    assert error.metadata == {"upstream": upstream.name, "upstream_status": str(status)} | code
    assert error.__cause__ is None
    assert len(fake.calls) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500])
async def test_a_query_is_not_repeated_where_that_helps_nobody(fake: FakeUpstream, calls: Calls, status: int) -> None:
    fake.replies = [reply(status=status)]

    await failure_of(calls.query(call()))

    assert len(fake.calls) == 1


async def test_a_response_of_more_than_a_mebibyte_breaks_the_contract(fake: FakeUpstream, calls: Calls) -> None:
    fake.replies = [reply({"cardId": "crd_1", "x": "x" * 2**20})]

    error = await failure_of(calls.change(call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert error.metadata["upstream_status"] == "200"


async def test_calls_one_after_the_other_share_a_connection_and_keep_no_cookie(
    upstream: Upstream, fake: FakeUpstream, calls: Calls
) -> None:
    head, _, body = upstream.changed.content.partition(b"\r\n")
    fake.replies = [replace(upstream.changed, content=head + b"\r\nSet-Cookie: session=1; Path=/\r\n" + body)]

    for _ in range(5):
        await calls.change(call())

    assert len({seen.peer for seen in fake.calls}) == 1
    assert not [seen for seen in fake.calls if "cookie" in seen.headers]


async def test_no_more_connections_are_open_than_allowed(upstream: Upstream, fake: FakeUpstream) -> None:
    open_now = most = 0

    async def count(_request: Seen) -> Reply:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        return upstream.changed

    fake.replies = [count]
    async with upstream.connected(fake.url, total_timeout_seconds=60.0, max_connections=3) as calls:
        await asyncio.gather(*(calls.change(call()) for _ in range(30)))

    assert most == 3
