"""The demonstration: a card's life and two notifications, through a real gateway process and real TLS connections."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, cast

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status
from rich.console import Console

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.common.v1 import card_data_pb2
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1 import service_pb2_grpc as notification_grpc
from issuer.threeds.v1 import operation_pb2 as threeds
from sandbox.d1.contract import Operation
from sandbox.d1.notification import Notification, new_details, new_operation_id
from sandbox.d1.notifier import EdgeCredentials
from sandbox.faults import Drop, Fault
from sandbox.gateway import GatewayConfig, GatewayProcess, channel
from sandbox.sandbox import Sandbox
from sandbox.steps import Steps, UnexpectedError, expect

__all__ = ["demo"]

_CARD = "card_demo_1"
_CONSUMER = "consumer_demo_1"
_PRODUCT = "light"
_OAUTH = EdgeCredentials("d1-demo", "demo-client-secret", "notifications")
_CALL_SECONDS = 5.0

_Watch: TypeAlias = (
    "grpc.aio.UnaryStreamCall[notification.WatchNotificationsRequest, notification.WatchNotificationsResponse]"
)


async def demo(console: Console) -> bool:
    """Walk through everything, printing each step; tells whether all passed."""
    steps = Steps(console)
    with TemporaryDirectory(prefix="d1-gateway-demo-") as name:
        folder = Path(name)
        async with Sandbox.start(folder / "keys", edge_credentials=_OAUTH) as sandbox:
            console.print(
                f"D1 simulator at {sandbox.d1_url}, throw-away keys in {folder}", highlight=False, soft_wrap=True
            )
            gateway = await GatewayProcess.start(GatewayConfig.of(sandbox, folder, oauth=_OAUTH), folder)
            console.print(
                f"gateway at {gateway.grpc} (gRPC) and {gateway.edge} (D1's callbacks)", highlight=False, soft_wrap=True
            )
            sandbox.set_edge(gateway.edge)
            try:
                async with channel(gateway.grpc, sandbox.pki) as connected:
                    await _Demo(steps, sandbox, gateway, connected).walk()
            finally:
                await gateway.stop()
    steps.summary()
    return steps.failed == 0


@dataclass(frozen=True, slots=True)
class _Demo:
    steps: Steps
    sandbox: Sandbox
    gateway: GatewayProcess
    channel: grpc.aio.Channel

    async def walk(self) -> None:
        self.steps.title("A card's life: gRPC -> gateway -> D1")
        await self.steps.run("the gateway says that it serves", self._health)
        for name, action in self._card_steps():
            await self.steps.run(name, action)
        self.steps.title("What goes wrong is told: reason and outcome")
        await self.steps.run("a malformed PAN never leaves the gateway", self._malformed)
        await self.steps.run("D1 refuses a state change", self._wrong_state)
        await self.steps.run("D1's answer is lost: the outcome is unknown", self._answer_lost)
        self.steps.title("Notifications: D1 -> HTTPS callback -> log on disk -> gRPC stream")
        await _Notifications(self).walk()

    def _card_steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        cards = card_grpc.CardServiceStub(self.channel)
        register = _register(_CARD, "4970101234567890")
        suspend = card.SuspendCardRequest(card_id=_CARD, reason_code=card.SUSPEND_REASON_CARD_LOST)
        resume = card.ResumeCardRequest(card_id=_CARD, reason_code=card.RESUME_REASON_CARD_FOUND)
        renew = card.RenewCardRequest(card_id=_CARD, credentials=_credentials("4970101234567890", 2033))
        replace = card.ReplaceCardRequest(
            card_id=_CARD,
            reason_code="CARD_STOLEN",
            new_card_id="card_demo_2",
            credentials=_credentials("4970109876543210", 2033),
        )
        delete = card.DeleteCardRequest(card_id="card_demo_2", reason_code="CLOSED_CARD")

        def changes(call: Callable[..., Awaitable[Any]], request: Any, then: str) -> Callable[[], Awaitable[str]]:
            async def action() -> str:
                await call(request, timeout=_CALL_SECONDS)
                return self._states(then)

            return action

        async def create() -> str:
            created = await cards.CreateCard(
                card.CreateCardRequest(
                    consumer_id=_CONSUMER,
                    card_product_id="full",
                    accounts=[card.Account(default=True, number="12345678", currency_code="EUR")],
                ),
                timeout=_CALL_SECONDS,
            )
            return f"D1 chose the id {created.card_id}"

        return [
            ("RegisterCard, its PAN encrypted for D1 (JWE)", changes(cards.RegisterCard, register, f"{_CARD} ACTIVE")),
            ("RegisterCard again: idempotent", changes(cards.RegisterCard, register, f"{_CARD} ACTIVE")),
            ("SuspendCard: CARD_LOST", changes(cards.SuspendCard, suspend, f"{_CARD} SUSPENDED")),
            ("ResumeCard: CARD_FOUND", changes(cards.ResumeCard, resume, f"{_CARD} ACTIVE")),
            ("RenewCard: a new expiry", changes(cards.RenewCard, renew, f"{_CARD} ACTIVE")),
            ("ReplaceCard: a new PAN and id", changes(cards.ReplaceCard, replace, f"{_CARD} REPLACED")),
            ("DeleteCard", changes(cards.DeleteCard, delete, "card_demo_2 DELETED")),
            ("CreateCard: D1 makes the card", create),
        ]

    def _states(self, then: str) -> str:
        states = [f"{each.card_id} {each.state.value}" for each in self.sandbox.store.cards()]
        expect(then in states, f"D1 holds {', '.join(states)}")
        return f"at D1: {', '.join(states)}"

    async def _health(self) -> str:
        service = "issuer.card.v1.CardService"
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=_CALL_SECONDS)
        expect(answer.status == health_pb2.HealthCheckResponse.SERVING, "it does not")
        return f"{service} SERVING"

    async def _malformed(self) -> str:
        return await self._refused(_register("card_demo_3", "4970 1012 3456"), "INVALID_REQUEST", "NOT_SENT")

    async def _wrong_state(self) -> str:
        request = card.SuspendCardRequest(card_id="card_demo_2", reason_code=card.SUSPEND_REASON_FRAUD)
        return await self._refused(request, "UPSTREAM_FORBIDDEN", "REJECTED")

    async def _answer_lost(self) -> str:
        self.sandbox.faults.add(Fault(operation=Operation.SUSPEND_CARD.value, times=1, drop=Drop.AFTER))
        card_id = "card_demo_4"
        cards = card_grpc.CardServiceStub(self.channel)
        await cards.RegisterCard(_register(card_id, "4970101111111111"), timeout=_CALL_SECONDS)
        request = card.SuspendCardRequest(card_id=card_id, reason_code=card.SUSPEND_REASON_USER_DECISION)
        return await self._refused(request, "UPSTREAM_NO_ANSWER", "UNKNOWN")

    async def _refused(
        self, request: card.RegisterCardRequest | card.SuspendCardRequest, reason: str, outcome: str
    ) -> str:
        cards = card_grpc.CardServiceStub(self.channel)
        try:
            if isinstance(request, card.RegisterCardRequest):
                await cards.RegisterCard(request, timeout=_CALL_SECONDS)
            else:
                await cards.SuspendCard(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            info = _error_info(error)
            told = f"{error.code().name}, reason {info.reason}, outcome {info.metadata['outcome']}"
            expect((info.reason, info.metadata["outcome"]) == (reason, outcome), told)
            return told
        raise UnexpectedError("the call succeeded")


class _Notifications:
    """The second half: what D1 notifies reaches a subscriber, once each, and again where it left off."""

    def __init__(self, walk: _Demo) -> None:
        self._demo = walk
        self._stub = notification_grpc.NotificationServiceStub(walk.channel)
        self._watch: _Watch = self._stub.WatchNotifications(notification.WatchNotificationsRequest())
        self._cursor = ""

    async def walk(self) -> None:
        run = self._demo.steps.run
        await run("a subscriber watches from now on", self._open)
        await run("3DS_CHALLENGE_OOB SUCCESSFUL arrives", lambda: self._arrives("3DS_CHALLENGE_OOB", "SUCCESSFUL"))
        await run("3DS_FRICTIONLESS FAILED arrives", lambda: self._arrives("3DS_FRICTIONLESS", "FAILED"))
        await run("a duplicate is taken and not delivered again", self._duplicate)
        await run("a kind that D1 will add is delivered as text", self._unknown_kind)
        await run("after kill -9, the watch goes on at its cursor", self._survives)
        await run("SIGTERM: the stream is told to go elsewhere", self._drained)

    async def _open(self) -> str:
        self._cursor = (await self._next()).cursor
        return f"cursor {self._cursor}"

    async def _arrives(self, operation: str, status: str) -> str:
        began = time.perf_counter()
        sent = await self._send(operation=operation, status=status)
        got = await self._one()
        milliseconds = (time.perf_counter() - began) * 1000
        expect(got.three_ds_operation.operation_id == sent.operation_id, "another operation arrived")
        kind = threeds.OperationType.Name(got.three_ds_operation.type)
        return f"{got.card_id} {kind}, {milliseconds:.1f} ms after D1 began to post it"

    async def _duplicate(self) -> str:
        first = await self._send()
        await self._send(first)
        second = await self._send()
        got = [(await self._one()).three_ds_operation.operation_id for _ in range(2)]
        expect(got == [first.operation_id, second.operation_id], f"{got} arrived")
        return "three times 204, two notifications"

    async def _unknown_kind(self) -> str:
        await self._send(operation="3DS_SOMETHING_NEW", details={"merchant": {"name": "Books"}})
        operation = (await self._one()).three_ds_operation
        expect(operation.operation_text == "3DS_SOMETHING_NEW", operation.operation_text)
        return f"{operation.operation_text}, unrecognized {sorted(operation.details.unrecognized.fields)}"

    async def _survives(self) -> str:
        sent = await self._send()
        gateway = self._demo.gateway
        await gateway.restart()
        self._watch = self._stub.WatchNotifications(
            notification.WatchNotificationsRequest(after_cursor=self._cursor), wait_for_ready=True
        )
        got = await self._one()
        expect(got.three_ds_operation.operation_id == sent.operation_id, "another operation arrived")
        return f"{sent.operation_id[:11]}... was answered 204 before the kill and arrives after it"

    async def _drained(self) -> str:
        stopping = asyncio.create_task(self._demo.gateway.stop())
        try:
            await self._next()
        except grpc.aio.AioRpcError as error:
            reason = _error_info(error).reason
            expect(reason == "SERVER_DRAINING", reason)
            return f"{error.code().name}, reason {reason}; the gateway ended with {await stopping}"
        finally:
            await stopping
        raise UnexpectedError("the stream went on")

    async def _send(self, again: Notification | None = None, **fields: Any) -> Notification:
        details = new_details() | fields.pop("details", {})
        sent = again or Notification(_CARD, new_operation_id(), datetime.now(UTC), details=details, **fields)
        status = await self._demo.sandbox.notifier.send(sent)
        expect(status == 204, f"the gateway answered D1 with {status}")  # noqa: PLR2004 (HTTP: No Content)
        return sent

    async def _next(self) -> notification.WatchNotificationsResponse:
        batch = await self._watch.read()
        if not isinstance(batch, notification.WatchNotificationsResponse):
            raise UnexpectedError("the stream ended")
        return batch

    async def _one(self) -> notification.Notification:
        while not (batch := await self._next()).notifications:
            pass
        expect(len(batch.notifications) == 1, f"{len(batch.notifications)} notifications arrived at once")
        self._cursor = batch.cursor
        return batch.notifications[0]


def _register(card_id: str, pan: str) -> card.RegisterCardRequest:
    return card.RegisterCardRequest(
        card_id=card_id,
        consumer_id=_CONSUMER,
        card_product_id=_PRODUCT,
        credentials=_credentials(pan, 2031),
    )


def _credentials(pan: str, year: int) -> card_data_pb2.CardCredentials:
    return card_data_pb2.CardCredentials(pan=pan, expiry=card_data_pb2.CardExpiry(month=12, year=year))


def _error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    # Sync and asyncio errors look the same to it, whatever its stubs say.
    status = rpc_status.from_call(cast("grpc.Call", error))
    if status is None or not status.details[0].Unpack(info):
        raise UnexpectedError(f"an error without details: {error.code().name}")
    return info
