"""An internal service that makes valid and invalid calls of every rpc, and collects all responses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1.service_pb2_grpc import CallbackServiceStub
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from issuer.threeds.v1 import messages_pb2 as threeds
from issuer.threeds.v1.service_pb2_grpc import AuthenticationServiceStub
from sandbox.common.pki import Pki
from sandbox.gateway import credentials
from tests.e2e.canary_media import Evidence
from tests.e2e.canary_requests import CARD, CanaryCall, Requests, changed, poisoned
from tests.e2e.canary_values import Canaries

__all__ = ["Caller"]

_SECONDS: Final = 10.0
_TRACE_PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_READER: Final = "reader"


class Caller:
    """An internal service with a client certificate and a bearer token."""

    def __init__(self, channel: grpc.aio.Channel, evidence: Evidence, canaries: Canaries) -> None:
        self.channel = channel
        self._evidence = evidence
        self._canaries = canaries
        self._requests = Requests(canaries)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, address: str, pki: Pki, token: str, evidence: Evidence, canaries: Canaries
    ) -> AsyncIterator["Caller"]:
        """Connect for the duration of the block."""
        shown = grpc.composite_channel_credentials(
            credentials(pki.server_ca, pki.caller), grpc.access_token_call_credentials(token)
        )
        async with grpc.aio.secure_channel(address, shown) as channel:
            yield cls(channel, evidence, canaries)

    async def call(self, call: CanaryCall, **metadata: str) -> Any:
        """Call, and collect the metadata or the error. Return the reply; None without one."""
        named = self._metadata() | {name.replace("_", "-"): value for name, value in metadata.items()}
        rpc = getattr(call.stub(self.channel), call.rpc)
        return await self._ended(call.rpc, rpc(call.request, timeout=_SECONDS, metadata=tuple(named.items())))

    async def do_well(self) -> None:
        """Call every rpc except `HandleCallbacks`; calls with effects twice under one request id."""
        changes = self._requests.changes()
        for call in changes:
            first, again = await self.call(call), await self.call(call)
            assert first is not None, call.rpc
            assert first == again, call.rpc
        replies = {call.rpc: (call, await self.call(call)) for call in self._requests.reads()}
        assert all(reply is not None for _, reply in replies.values())
        transaction = replies["Authenticate"][0].request.areq.three_ds_server_trans_id
        for call in (
            *self._ends(replies["WatchNotifications"][1].cursor),
            CanaryCall(
                AuthenticationServiceStub,
                "GetChallengeResult",
                threeds.GetChallengeResultRequest(three_ds_server_trans_id=transaction),
            ),
        ):
            assert await self.call(call) is not None, call.rpc
        for call in changes:
            # Rejected: its request id belongs to another request.
            await self.must_fail(_with(call, self._requests.other(call.request)))

    async def do_badly(self) -> None:
        """Make invalid calls of every rpc: by rule, issuer, form and size."""
        text = self._canaries.all()
        for call in self.everything():
            await self.must_fail(_with(call, poisoned(call.request, text)))
            await self.must_fail(_with(call, changed(call.request, issuer_id=self._canaries["PAN"][-10:])))
        for name in (self._canaries["PAN"], "SuspendCard"):
            garbage: grpc.aio.UnaryUnaryMultiCallable[str, bytes] = self.channel.unary_unary(
                f"/issuer.card.v1.CardService/{name}", lambda words: words.encode()
            )
            assert await self._ended("garbage", garbage(text, timeout=_SECONDS)) is None
        too_much = card.SuspendCardRequest(card_id=CARD, reason=text * 1000)
        await self.must_fail(CanaryCall(CardServiceStub, "SuspendCard", too_much))
        await self.must_fail(self.suspension(), x_much=text * 30)
        await self.must_fail(self.suspension(), x_correlation_id=self._canaries["correlation id"])
        await self.must_fail(self.suspension(), authorization=f"Bearer {self._canaries['wrong bearer token']}")
        await self._handle_badly()

    def everything(self) -> list[CanaryCall]:
        """Return a call of every rpc except `HandleCallbacks`, with fresh request ids."""
        return [
            *self._requests.changes(),
            *self._requests.reads(),
            *self._ends(self._canaries["account number"]),
            CanaryCall(
                AuthenticationServiceStub,
                "GetChallengeResult",
                threeds.GetChallengeResultRequest(three_ds_server_trans_id="d461f105-1792-407f-95ff-9a496fd918a9"),
            ),
        ]

    def suspension(self) -> CanaryCall:
        """Return the call that tries D1's error texts."""
        return CanaryCall(CardServiceStub, "SuspendCard", self._requests.suspension())

    def lookup(self) -> CanaryCall:
        """Return the call that tries the 3DS server's error texts."""
        return CanaryCall(AuthenticationServiceStub, "LookupCard", self._requests.lookup())

    async def must_fail(self, call: CanaryCall, **metadata: str) -> None:
        """Make a call that must fail."""
        assert await self.call(call, **metadata) is None, call.rpc

    async def _handle_badly(self) -> None:
        text = self._canaries.all()
        registration = callback.Registration(name="canary", kinds=[callback.CALLBACK_KIND_DELIVER_OTP])
        replies = (callback.Reply(token=text[:100]), poisoned(callback.Reply(), text))
        for first in (
            callback.HandleCallbacksRequest(registration=callback.Registration(name=text)),
            callback.HandleCallbacksRequest(reply=replies[1]),
        ):
            stream = CallbackServiceStub(self.channel).HandleCallbacks(timeout=_SECONDS)
            await stream.write(first)
            assert await self._ended("HandleCallbacks", stream) is None
        stream = CallbackServiceStub(self.channel).HandleCallbacks(timeout=_SECONDS)
        await stream.write(callback.HandleCallbacksRequest(registration=registration))
        await stream.read()
        for reply in replies:
            await stream.write(callback.HandleCallbacksRequest(reply=reply))
            response = await stream.read()
            assert isinstance(response, callback.HandleCallbacksResponse)
            # The acknowledgement repeats the request's token.
            for violation in response.receipt.violations:
                self._evidence.add_acknowledgement(violation)
        await stream.write(callback.HandleCallbacksRequest(registration=registration))
        assert await self._ended("HandleCallbacks", stream) is None

    async def _ended(self, where: str, call: Any) -> Any:
        try:
            if hasattr(call, "read"):
                reply = await call.read()
                call.cancel()
            else:
                reply = await call
                self._evidence.add_metadata(where, await call.trailing_metadata())
            self._evidence.add_metadata(where, await call.initial_metadata())
        except grpc.aio.AioRpcError as error:
            self._evidence.add_rpc_error(where, error)
            return None
        return reply

    def _ends(self, cursor: str) -> list[CanaryCall]:
        requests: dict[str, Message] = {
            "CommitCursor": notification.CommitCursorRequest(subscription=_READER, cursor=cursor),
            "GetSubscription": notification.GetSubscriptionRequest(subscription=_READER),
            "DeleteSubscription": notification.DeleteSubscriptionRequest(subscription=_READER),
        }
        return [CanaryCall(NotificationServiceStub, rpc, request) for rpc, request in requests.items()]

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


def _with(call: CanaryCall, request: Message) -> CanaryCall:
    """Return the call with another request."""
    return CanaryCall(call.stub, call.rpc, request)
