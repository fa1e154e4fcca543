"""A stream of a handler that does not say who it is."""

import asyncio

import grpc

from gateway.auth.issuers import Issuers
from gateway.callbacks.broker import Broker
from gateway.grpc_api.interceptors import CorrelationInterceptor, ErrorInterceptor
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.telemetry.metrics import Metrics
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2, service_pb2_grpc
from tests.running import failure_of


async def test_a_stream_that_never_registers_is_ended_and_one_that_has_may_be_silent() -> None:
    chain = Chain(CorrelationInterceptor(), ErrorInterceptor())
    server = grpc.aio.server(handlers=(chain,))
    validation = Validation()
    validation.prepare(service_pb2.DESCRIPTOR.services_by_name["CallbackService"].full_name)
    broker = Broker(asyncio.get_running_loop())
    issuers = Issuers(["ISSUER0001"])
    servicer = CallbackServicer(issuers, broker, validation, Metrics(), registration_timeout_seconds=1.0)
    chain.add(servicer, service_pb2_grpc.add_CallbackServiceServicer_to_server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: service_pb2_grpc.CallbackServiceAsyncStub = service_pb2_grpc.CallbackServiceStub(channel)
        registered = stub.HandleCallbacks(timeout=20)
        registration = callback.HandlerRegistration(name="handler", callback_kinds=[callback.CALLBACK_KIND_DELIVER_OTP])
        await registered.write(callback.HandleCallbacksRequest(registration=registration))
        assert isinstance(await registered.read(), callback.HandleCallbacksResponse)

        failure = await failure_of(stub.HandleCallbacks(timeout=20).read())

        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert failure.violations == {"registration": "stream.order"}
        assert not registered.done(), "it is older than the other one"
        await registered.done_writing()
        assert await registered.code() == grpc.StatusCode.OK
    await server.stop(None)
