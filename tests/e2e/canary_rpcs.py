"""An internal service that calls every rpc, well and badly, and gathers whatever it is told."""

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
from tests.e2e.canary_requests import CARD, Asked, Requests, changed, poisoned
from tests.e2e.canary_values import Canaries

__all__ = ["Caller"]

_SECONDS: Final = 10.0
_TRACE_PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_READER: Final = "reader"


class Caller:
    """An internal service that is known by its certificate and its token."""

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
        """Be connected for as long as the block lasts."""
        shown = grpc.composite_channel_credentials(
            credentials(pki.server_ca, pki.caller), grpc.access_token_call_credentials(token)
        )
        async with grpc.aio.secure_channel(address, shown) as channel:
            yield cls(channel, evidence, canaries)

    async def call(self, asked: Asked, **metadata: str) -> Any:
        """Call, and gather what is told beside a good reply, or instead of it. Returns the reply; None without one."""
        named = self._metadata() | {name.replace("_", "-"): value for name, value in metadata.items()}
        rpc = getattr(asked.stub(self.channel), asked.rpc)
        return await self._ended(asked.rpc, rpc(asked.request, timeout=_SECONDS, metadata=tuple(named.items())))

    async def do_well(self) -> None:
        """Call every rpc but `HandleCallbacks`; twice under one request id if it changes something."""
        changes = self._requests.changes()
        for asked in changes:
            first, again = await self.call(asked), await self.call(asked)
            assert first is not None, asked.rpc
            assert first == again, asked.rpc
        replies = {asked.rpc: (asked, await self.call(asked)) for asked in self._requests.questions()}
        assert all(reply is not None for _, reply in replies.values())
        transaction = replies["Authenticate"][0].request.areq.three_ds_server_trans_id
        for asked in (
            *self._ends(replies["WatchNotifications"][1].cursor),
            Asked(
                AuthenticationServiceStub,
                "GetChallengeResult",
                threeds.GetChallengeResultRequest(three_ds_server_trans_id=transaction),
            ),
        ):
            assert await self.call(asked) is not None, asked.rpc
        for asked in changes:
            # Not carried out, as its request id has been used for something else.
            await self.is_refused(_with(asked, self._requests.other(asked.request)))

    async def do_badly(self) -> None:
        """Call every rpc with what it refuses: by its rules, for its issuer, for its form, for its size."""
        text = self._canaries.all()
        for asked in self.everything():
            await self.is_refused(_with(asked, poisoned(asked.request, text)))
            await self.is_refused(_with(asked, changed(asked.request, issuer_id=self._canaries["PAN"][-10:])))
        for name in (self._canaries["PAN"], "SuspendCard"):
            garbage: grpc.aio.UnaryUnaryMultiCallable[str, bytes] = self.channel.unary_unary(
                f"/issuer.card.v1.CardService/{name}", lambda words: words.encode()
            )
            assert await self._ended("garbage", garbage(text, timeout=_SECONDS)) is None
        too_much = card.SuspendCardRequest(card_id=CARD, reason=text * 1000)
        await self.is_refused(Asked(CardServiceStub, "SuspendCard", too_much))
        await self.is_refused(self.suspension(), x_much=text * 30)
        await self.is_refused(self.suspension(), x_correlation_id=self._canaries["correlation id"])
        await self.is_refused(self.suspension(), authorization=f"Bearer {self._canaries['wrong bearer token']}")
        await self._handle_badly()

    def everything(self) -> list[Asked]:
        """Return a call of every rpc but `HandleCallbacks`, with request ids that were not used."""
        return [
            *self._requests.changes(),
            *self._requests.questions(),
            *self._ends(self._canaries["account number"]),
            Asked(
                AuthenticationServiceStub,
                "GetChallengeResult",
                threeds.GetChallengeResultRequest(three_ds_server_trans_id="d461f105-1792-407f-95ff-9a496fd918a9"),
            ),
        ]

    def suspension(self) -> Asked:
        """Return the call that D1's words of refusal are tried with."""
        return Asked(CardServiceStub, "SuspendCard", self._requests.suspension())

    def lookup(self) -> Asked:
        """Return the call that the 3DS server's words of refusal are tried with."""
        return Asked(AuthenticationServiceStub, "LookupCard", self._requests.lookup())

    async def is_refused(self, asked: Asked, **metadata: str) -> None:
        """Call, and expect no reply."""
        assert await self.call(asked, **metadata) is None, asked.rpc

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
            answer = await stream.read()
            assert isinstance(answer, callback.HandleCallbacksResponse)
            # The token in it is the one that came.
            for violation in answer.receipt.violations:
                self._evidence.add_receipt(violation)
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

    def _ends(self, cursor: str) -> list[Asked]:
        requests: dict[str, Message] = {
            "CommitCursor": notification.CommitCursorRequest(subscription=_READER, cursor=cursor),
            "GetSubscription": notification.GetSubscriptionRequest(subscription=_READER),
            "DeleteSubscription": notification.DeleteSubscriptionRequest(subscription=_READER),
        }
        return [Asked(NotificationServiceStub, rpc, request) for rpc, request in requests.items()]

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


def _with(asked: Asked, request: Message) -> Asked:
    """Return the same call with another request."""
    return Asked(asked.stub, asked.rpc, request)
