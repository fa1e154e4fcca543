"""Streams that end with an error of gRPC itself are opened again; an error of the gateway is raised."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from d1_gateway_client import AsyncGatewayClient, CallbackContext, CallbackHandler, GatewayClient, errors
from d1_gateway_client.contracts.issuer.callback.v1 import (
    DeliverOtpRequest,
    DeliverOtpResponse,
    HandleCallbacksResponse,
    HandlerRegistered,
)
from d1_gateway_client.contracts.issuer.notification.v1 import Notification, WatchNotificationsResponse
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from sandbox.common.pki import Pki
from tests.clients.client_gateways import CORRELATION_ID, options_for, serving

RESPONSES = {
    "HandleCallbacks": bytes(HandleCallbacksResponse(registered=HandlerRegistered())),
    "WatchNotifications": bytes(WatchNotificationsResponse(notifications=[Notification(cursor="c-1")], cursor="c-1")),
}
FAULT = GatewayError(error_pb2.ERROR_REASON_INTERNAL, "a fault", outcome=error_pb2.ERROR_OUTCOME_UNKNOWN)


class FirstStreamEnds(grpc.GenericRpcHandler):
    """Ends the first stream with an error, and serves the later ones."""

    def __init__(self, code: grpc.StatusCode | None) -> None:
        self.count = 0
        self._code = code

    def service(self, handler_call_details: Any) -> Any:
        response = RESPONSES[handler_call_details.method.rpartition("/")[2]]

        async def serve(requests: Any, context: Any) -> AsyncIterator[bytes]:
            # grpc's client takes a refusal that arrives while it writes for an error of its own.
            await anext(requests)
            self.count += 1
            if self._code is None:
                await context.abort_with_status(rpc_status.to_status(FAULT.to_status(CORRELATION_ID)))
            elif self.count == 1:
                await context.abort(self._code, "Internal error from Core")
            yield response
            await asyncio.Event().wait()

        return grpc.stream_stream_rpc_method_handler(serve)


async def handle(pki: Pki, address: str) -> None:
    handler = CallbackHandler("otps", drain_seconds=0)

    @handler.deliver_otp
    async def send(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
        raise AssertionError(f"nobody sent {request}, {context}")

    async with AsyncGatewayClient(options_for(address, pki)) as client, handler.serving(client):
        pass


async def watch(pki: Pki, address: str) -> None:
    async with AsyncGatewayClient(options_for(address, pki)) as client, client.notifications.watch() as watching:
        assert (await anext(watching)).cursor == "c-1"


async def watch_blocking(pki: Pki, address: str) -> None:
    def watched() -> None:
        with GatewayClient(options_for(address, pki)) as client, client.notifications.watch() as watching:
            assert next(watching).cursor == "c-1"

    await asyncio.to_thread(watched)


every_stream = pytest.mark.parametrize("use", [handle, watch, watch_blocking])
Use = Callable[[Pki, str], Awaitable[None]]


@every_stream
# INTERNAL is also that of grpc's own client, which writes while a refusal arrives.
@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED"])
async def test_a_stream_that_grpc_itself_ends_is_opened_again(pki: Pki, use: Use, code: str) -> None:
    streams = FirstStreamEnds(grpc.StatusCode[code])
    async with serving(pki, streams) as address, asyncio.timeout(30):
        await use(pki, address)
    assert streams.count == 2


@every_stream
@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNIMPLEMENTED"])
async def test_a_stream_that_is_refused_for_good_is_not_opened_again(pki: Pki, use: Use, code: str) -> None:
    streams = FirstStreamEnds(grpc.StatusCode[code])
    async with serving(pki, streams) as address, asyncio.timeout(30):
        with pytest.raises(errors.GatewayError) as caught:
            await use(pki, address)
    assert (caught.value.code, streams.count) == (grpc.StatusCode[code], 1)


@every_stream
async def test_a_fault_of_the_gateway_is_raised(pki: Pki, use: Use) -> None:
    streams = FirstStreamEnds(None)
    async with serving(pki, streams) as address, asyncio.timeout(30):
        with pytest.raises(errors.GatewayError) as caught:
            await use(pki, address)
    assert (caught.value.reason, streams.count) == (errors.ErrorReason.INTERNAL, 1)
