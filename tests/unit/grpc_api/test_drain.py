import asyncio
from typing import cast

import pytest

from gateway.grpc_api.endless import EndlessStreams
from gateway.grpc_api.interceptors.chain import Context, Method, Rpc
from gateway.grpc_api.interceptors.drain import DrainInterceptor

_METHOD = Method("/a.B/C", "a.B/C", has_request_stream=False, has_streams=False)


def _rpc(drain: DrainInterceptor, *, fails: bool = False, seconds: float = 0.0) -> "asyncio.Task[object]":
    async def behave(request: object, context: Context) -> object:
        del context
        await asyncio.sleep(seconds)
        if fails:
            raise EOFError
        return request

    rpc = Rpc(_METHOD, "reply", cast("Context", None), behave, (drain,))
    return asyncio.ensure_future(rpc.proceed())


@pytest.mark.parametrize("fails", [False, True])
async def test_an_end_is_held_back_until_callers_got_a_goaway(*, fails: bool) -> None:
    drain = DrainInterceptor()
    with drain.holding():
        ending = _rpc(drain, fails=fails)
        await asyncio.sleep(0.02)
        assert not ending.done()

    if fails:
        with pytest.raises(EOFError):
            await ending
    else:
        assert await ending == "reply"


async def test_what_ends_before_and_after_is_not_held_back() -> None:
    drain = DrainInterceptor()
    assert await _rpc(drain) == "reply"
    with drain.holding():
        ending = _rpc(drain, seconds=0.02)
    async with asyncio.timeout(1):
        assert await ending == "reply"


async def test_a_caller_that_leaves_is_not_held_back() -> None:
    drain = DrainInterceptor()
    with drain.holding():
        ending = _rpc(drain, seconds=10)
        await asyncio.sleep(0)
        ending.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await ending


async def test_streams_without_an_end_end_with_the_gateway_whenever_they_began() -> None:
    streams, written = EndlessStreams(), list[str]()

    async def stream(name: str) -> None:
        written.append(name)
        await asyncio.sleep(30)

    before = asyncio.create_task(streams.run(stream("before")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    streams.end()
    async with asyncio.timeout(5):
        await before
        await streams.run(stream("after"))
    assert written == ["before", "after"]
    assert not streams


async def test_what_such_a_stream_raises_is_raised_and_its_callers_end_is_its_own() -> None:
    streams, left = EndlessStreams(), asyncio.Event()

    async def fail() -> None:
        raise EOFError

    async def wait() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            left.set()

    with pytest.raises(EOFError):
        await streams.run(fail())
    running = asyncio.create_task(streams.run(wait()))
    await asyncio.sleep(0.01)
    running.cancel()
    async with asyncio.timeout(5):
        await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await running
