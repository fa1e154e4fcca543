"""A stream of a handler that does not say who it is."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from gateway.auth.issuers import Issuers
from gateway.callbacks.broker import Broker
from gateway.grpc_api.interceptors import CorrelationInterceptor, ErrorInterceptor
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2, service_pb2_grpc
from tests.running import failure_of


@pytest.fixture
async def stub() -> "AsyncIterator[service_pb2_grpc.CallbackServiceAsyncStub]":
    server = grpc.aio.server(interceptors=(Chain(CorrelationInterceptor(), ErrorInterceptor()),))
    validation = Validation()
    validation.prepare(service_pb2.DESCRIPTOR.services_by_name["CallbackService"].full_name)
    broker = Broker(asyncio.get_running_loop())
    servicer = CallbackServicer(Issuers(["ISSUER0001"]), broker, validation, registration_timeout_seconds=1.0)
    service_pb2_grpc.add_CallbackServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service_pb2_grpc.CallbackServiceStub(channel)
    await server.stop(None)


async def test_a_stream_that_never_registers_is_ended(stub: "service_pb2_grpc.CallbackServiceAsyncStub") -> None:
    failure = await failure_of(stub.HandleCallbacks(timeout=20).read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert failure.violations == {"registration": "stream.order"}


async def test_a_stream_that_has_registered_may_be_silent(stub: "service_pb2_grpc.CallbackServiceAsyncStub") -> None:
    call = stub.HandleCallbacks(timeout=20)
    registration = callback.Registration(name="handler", kinds=[callback.CALLBACK_KIND_DELIVER_OTP])
    await call.write(callback.HandleCallbacksRequest(registration=registration))
    answer = await call.read()
    assert isinstance(answer, callback.HandleCallbacksResponse)
    await asyncio.sleep(1.3)
    assert not call.done()
    await call.done_writing()
    assert await call.code() == grpc.StatusCode.OK
