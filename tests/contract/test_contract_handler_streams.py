"""Streams of handlers: their registration, and how they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.settings import Settings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2_grpc
from sandbox import Sandbox
from sandbox.gateway import credentials
from sandbox.handler import Handler
from tests.callback_replies import Issuer, reject
from tests.contract.calling_back import D1, connect, read_all, registration, stream, until_measured
from tests.running import Failure, Running, edge_session, failure_of, running_gateway, settings_for


async def _refused(running: Running, *messages: callback.HandleCallbacksRequest) -> Failure:
    """Write messages, of which the last one ends the stream."""
    async with stream(running) as call:
        for message in messages[:-1]:
            await call.write(message)
            await call.read()
        await call.write(messages[-1])
        return await failure_of(read_all(call))


@pytest.mark.parametrize(
    ("first", "violated"),
    [
        (callback.HandleCallbacksRequest(), {"": "required"}),
        (callback.HandleCallbacksRequest(draining=callback.HandlerDraining()), {"registration": "stream.order"}),
        (registration(name=""), {"registration.name": "string.pattern"}),
        (registration(callback_kinds=[]), {"registration.callback_kinds": "repeated.min_items"}),
        (registration(callback_kinds=[0]), {"registration.callback_kinds[0]": "enum.not_in"}),
        (registration(callback_kinds=[77]), {"registration.callback_kinds[0]": "enum.defined_only"}),
        (registration(max_in_flight=1001), {"registration.max_in_flight": "uint32.lte"}),
        (registration(issuer_ids=["short"]), {"registration.issuer_ids[0]": "string.len"}),
    ],
)
async def test_a_wrong_first_message_ends_the_stream_and_says_what_is_wrong(
    running: Running, first: callback.HandleCallbacksRequest, violated: dict[str, str]
) -> None:
    failure = await _refused(running, first)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert {field.removeprefix("message"): rule for field, rule in failure.violations.items()} == violated


async def test_a_second_registration_ends_the_stream(running: Running) -> None:
    failure = await _refused(running, registration(), registration())
    assert failure.violations == {"registration": "stream.order"}
    assert failure.message.startswith("Invalid request: registration must be sent once, as the first message")


async def test_a_stream_that_is_closed_without_a_registration_is_told_so(running: Running) -> None:
    async with stream(running) as call:
        await call.done_writing()
        failure = await failure_of(read_all(call))
    assert failure.violations == {"registration": "stream.order"}
    assert "registration is missing" in failure.message


async def test_a_handler_names_a_known_issuer_where_there_are_several(running: Running, running_two: Running) -> None:
    failure = await _refused(running, registration(issuer_ids=["UNKNOWN001"]))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "ISSUER_UNKNOWN")
    failure = await _refused(running_two, registration())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ISSUER_REQUIRED")


async def test_bytes_that_are_no_message_end_the_stream_of_a_registered_handler(running: Running) -> None:
    raw: Any = running.channel.stream_stream("/issuer.callback.v1.CallbackService/HandleCallbacks")()
    try:
        await raw.write(registration().SerializeToString())
        await raw.read()
        await raw.write(b"\xff\xff\xff")
        failure = await failure_of(read_all(raw))
    finally:
        raw.cancel()
    assert failure.error == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT", None)
    assert failure.message == "Invalid request: the bytes are not a message of the rpc's request type"
    assert failure.violations == {"": "protobuf.encoding"}


async def test_a_handler_that_says_no_more_is_let_go_in_peace(running: Running) -> None:
    async with stream(running) as call:
        await call.write(registration())
        await call.read()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    await until_measured(running, "handlers_connected{", 0)
    async with edge_session(running.sandbox) as session:
        d1 = D1(running, session)
        assert (await d1.call("/authentication/auth-1"))[1]["status"] == "PENDING"


async def test_a_handler_that_closes_its_side_gets_no_more_callbacks_though_it_has_unread_ones(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    may_answer = asyncio.Event()
    issuer = Issuer()

    async def wait(request: callback.CallbackRequest) -> callback.CallbackReply | None:
        await may_answer.wait()
        return await issuer.responders()["deliver_otp"](request)

    async with (
        running_gateway(sandbox, with_unhurried_otps(settings_for(sandbox, tmp_path))) as running,
        edge_session(sandbox) as session,
        a_narrow_channel(running) as narrow,
        connect(running, {"deliver_otp": wait}, max_in_flight=1) as busy,
    ):
        d1, everything = D1(running, session), list[asyncio.Task[tuple[int, Any]]]()

        async def send_otp(otp: str, padding: str = "") -> None:
            everything.append(asyncio.create_task(d1.call("/otp", {"otp": {"value": otp}, "padding": padding})))
            await until_measured(running, 'callbacks_open{kind="deliver_otp"}', len(everything))

        await send_otp("000000")
        call: Any = service_pb2_grpc.CallbackServiceStub(narrow).HandleCallbacks()
        await call.write(registration(callback_kinds=[callback.CALLBACK_KIND_DELIVER_OTP]))
        await call.read()
        # More than a connection buffers without a reader.
        for number in range(1, 7):
            await send_otp(f"{number:06}", "x" * 50_000)
        await call.done_writing()
        # Later handlers on the same connection register later.
        async with Handler.connect(narrow, {"consumer_information": reject}):
            assert (await d1.call())[0] == 404
        await send_otp("999999")
        may_answer.set()
        assert await everything[-1] == (204, None)
        call.cancel()
        await asyncio.gather(*everything)
    attempts = {request.deliver_otp.otp: request.attempt for request in busy.requests}
    assert attempts["999999"] == 1
    assert attempts["000001"] == 2, "the other one had it"


@asynccontextmanager
async def a_narrow_channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    """Connect with a small flow control window: by default gRPC buffers megabytes without a reader."""
    pki = running.sandbox.pki
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.secure_channel(
        running.addresses.grpc, credentials(pki.server_ca, pki.caller), options=narrow
    ) as channel:
        yield channel


def with_unhurried_otps(used: Settings) -> Settings:
    """Give handlers more time than a busy machine needs for a whole test."""
    unhurried = used.callbacks.deliver_otp.model_copy(update={"deadline_seconds": 10.0})
    return used.model_copy(update={"callbacks": used.callbacks.model_copy(update={"deliver_otp": unhurried})})
