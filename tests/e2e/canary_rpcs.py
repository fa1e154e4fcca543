"""An internal service that makes valid and invalid calls of every rpc, and collects all responses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1.service_pb2_grpc import CallbackServiceStub
from issuer.notification.v1.messages_pb2 import BackfillNotificationsResponse
from sandbox.common.pki import Pki
from sandbox.gateway import credentials
from tests.e2e import canary_requests
from tests.e2e.canary_media import Evidence, Medium
from tests.e2e.canary_requests import CARD, CanaryCall, poisoned, suspension

__all__ = ["Caller"]

_SECONDS: Final = 10.0
_TRACE_PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Caller:
    """An internal service with a client certificate and a bearer token."""

    def __init__(self, channel: grpc.aio.Channel, evidence: Evidence) -> None:
        self.channel = channel
        self._evidence = evidence
        self._canaries = evidence.canaries

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str, pki: Pki, token: str, evidence: Evidence) -> AsyncIterator["Caller"]:
        shown = grpc.composite_channel_credentials(
            credentials(pki.server_ca, pki.caller), grpc.access_token_call_credentials(token)
        )
        async with grpc.aio.secure_channel(address, shown) as channel:
            yield cls(channel, evidence)

    async def call(self, call: CanaryCall, request: Message | None = None, **metadata: str) -> Any:
        """Call, maybe with another request, and collect the metadata or the error. Return the reply, if any."""
        method, sent = call.method, call.request() if request is None else request
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        rpc: Any = kind(
            f"/{method.containing_service.full_name}/{method.name}",
            type(sent).SerializeToString,
            GetMessageClass(method.output_type).FromString,
        )
        named = self._metadata() | {name.replace("_", "-"): value for name, value in metadata.items()}
        return await self._ended(call.rpc, rpc(sent, timeout=_SECONDS, metadata=tuple(named.items())))

    async def do_well(self) -> None:
        """Call every rpc except `HandleCallbacks`; calls with effects twice under one request id."""
        changes = canary_requests.changes(self._canaries)
        for call in changes:
            first, again = await self.call(call), await self.call(call)
            assert first is not None, call.rpc
            assert first == again, call.rpc
        reads = {call.rpc: call for call in canary_requests.reads(self._canaries)}
        replies = {rpc: await self.call(call) for rpc, call in reads.items()}
        assert None not in replies.values()
        transaction = reads["Authenticate"].fields["areq"].three_ds_server_trans_id
        for call in canary_requests.endings(replies["WatchNotifications"].cursor, transaction):
            assert await self.call(call) is not None, call.rpc
        for call in changes:
            # Rejected: its request id belongs to another request.
            await self.must_fail(call.changed(**call.other))

    async def do_badly(self) -> None:
        """Make invalid calls of every rpc: by rule, issuer, form and size."""
        text, pan = self._canaries.all(), self._canaries["PAN"]
        for call in self.everything():
            await self.must_fail(call, poisoned(call.request(), text))
            await self.must_fail(call.changed(issuer_id=pan[-10:]))
        for name in (pan, "SuspendCard"):
            garbage: grpc.aio.UnaryUnaryMultiCallable[str, bytes] = self.channel.unary_unary(
                f"/issuer.card.v1.CardService/{name}", lambda words: words.encode()
            )
            assert await self._ended("garbage", garbage(text, timeout=_SECONDS)) is None
        await self.must_fail(CanaryCall("SuspendCard", {"card_id": CARD, "reason": text * 1000}))
        await self.must_fail(suspension(self._canaries), x_much=text * 30)
        await self.must_fail(suspension(self._canaries), x_correlation_id=self._canaries["correlation id"])
        await self.must_fail(suspension(self._canaries), authorization=f"Bearer {self._canaries['wrong bearer token']}")
        await self._handle_badly()

    def everything(self) -> list[CanaryCall]:
        """Return a call of every rpc except `HandleCallbacks`, with fresh request ids."""
        return [
            *canary_requests.changes(self._canaries),
            *canary_requests.reads(self._canaries),
            *canary_requests.endings(self._canaries["account number"]),
        ]

    async def must_fail(self, call: CanaryCall, request: Message | None = None, **metadata: str) -> None:
        assert await self.call(call, request, **metadata) is None, call.rpc

    async def _handle_badly(self) -> None:
        text = self._canaries.all()
        registration = callback.HandlerRegistration(name="canary", callback_kinds=[callback.CALLBACK_KIND_DELIVER_OTP])
        replies = (callback.CallbackReply(token=text[:100]), poisoned(callback.CallbackReply(), text))
        for first in (
            callback.HandleCallbacksRequest(registration=callback.HandlerRegistration(name=text)),
            callback.HandleCallbacksRequest(callback_reply=replies[1]),
        ):
            stream = CallbackServiceStub(self.channel).HandleCallbacks(timeout=_SECONDS)
            await stream.write(first)
            assert await self._ended("HandleCallbacks", stream) is None
        stream = CallbackServiceStub(self.channel).HandleCallbacks(timeout=_SECONDS)
        await stream.write(callback.HandleCallbacksRequest(registration=registration))
        await stream.read()
        for reply in replies:
            await stream.write(callback.HandleCallbacksRequest(callback_reply=reply))
            response = await stream.read()
            assert isinstance(response, callback.HandleCallbacksResponse)
            self._evidence.add_violations(response.acknowledgement)
        await stream.write(callback.HandleCallbacksRequest(registration=registration))
        assert await self._ended("HandleCallbacks", stream) is None

    async def _ended(self, where: str, call: Any) -> Any:
        reply: Any = None
        initial: Any = None
        trailing: Any = None
        try:
            initial = await call.initial_metadata()
            if hasattr(call, "read"):
                reply = await call.read()
                call.cancel()
                if isinstance(reply, BackfillNotificationsResponse):
                    # Bytes, as its text would omit fields.
                    self._evidence.add(Medium.RPC_STATUS, where, reply.SerializeToString())
            else:
                reply, trailing = await call, await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            initial, trailing = error.initial_metadata(), error.trailing_metadata()
            said = f"{error.code()} {error.details()} {error.debug_error_string()}"
            self._evidence.add(Medium.RPC_STATUS, where, said)
        for metadata in (*(initial or ()), *(trailing or ())):
            self._evidence.add(Medium.RPC_STATUS, where, *metadata)
        return reply

    def _metadata(self) -> dict[str, str | bytes]:
        return {
            "x-card": self._canaries["PAN"],
            "x-card-bin": self._canaries["PAN"].encode(),
            "x-correlation-id": f"card {self._canaries['PAN']}",
            "baggage": f"card={self._canaries['PAN']}",
            "cookie": self._canaries["e-mail"],
            "traceparent": _TRACE_PARENT,
            "tracestate": self._canaries["trace state"],
        }
