"""Requests as bytes: what is no request of its rpc, and what a newer client sends."""

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from gateway.grpc_api.server import SERVICES
from issuer.card.v1 import messages_pb2 as card
from sandbox.d1.model.contract import CardState
from tests.contract.calling_back import registration
from tests.contract.card_rpcs import RPCS, changed
from tests.running import Running, failure_of

_NEWER = b"\xba\x3e\x03new"
"""Field 999, a text."""


async def _call(running: Running, method: MethodDescriptor, request: bytes) -> Any:
    """Call an rpc with bytes, and return the bytes of its first response."""
    service, _, name = method.full_name.rpartition(".")
    kind = "_".join("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))
    call = getattr(running.channel, kind)(f"/{service}/{name}")(
        iter([request]) if method.client_streaming else request, timeout=10
    )
    try:
        return await (call.read() if method.server_streaming else call)
    finally:
        call.cancel()


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x0a\x05cut"], ids=["no protobuf", "cut off"])
@pytest.mark.parametrize("service", [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME])
async def test_bytes_that_are_no_request_are_an_invalid_request_at_every_rpc(
    running: Running, service: str, garbage: bytes
) -> None:
    for method in Default().FindServiceByName(service).methods:
        failure = await failure_of(_call(running, method, garbage))
        assert failure.error == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT", None), method.name
        assert failure.violations == {"": "protobuf.encoding"}


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("issuer.card.v1.CardService.SuspendCard", RPCS["SuspendCard"].request),
        ("issuer.notification.v1.NotificationService.WatchNotifications", card.SuspendCardResponse()),
        ("issuer.callback.v1.CallbackService.HandleCallbacks", registration()),
    ],
)
async def test_a_field_that_only_a_newer_client_knows_is_ignored(running: Running, rpc: str, request_: Message) -> None:
    method = Default().FindMethodByName(rpc)

    assert await _call(running, method, request_.SerializeToString() + _NEWER) is not grpc.aio.EOF


async def test_a_field_within_a_field_that_only_a_newer_client_knows_is_ignored(running: Running) -> None:
    request = changed(RPCS["RegisterCard"].request)
    request.credentials.MergeFromString(_NEWER)
    assert _NEWER in request.SerializeToString()

    await RPCS["RegisterCard"].call(running, request)

    assert running.sandbox.store.card("card-new").state is CardState.ACTIVE
