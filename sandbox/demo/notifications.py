"""Last part: D1's notifications, from the HTTPS callback to a gRPC subscriber, across a kill and a shutdown."""

import asyncio
import time
from collections import deque
from typing import TypeAlias

import grpc

from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1 import service_pb2_grpc as notification_grpc
from issuer.threeds.v1 import operation_pb2 as threeds
from sandbox.common.faults import Drop, Fault
from sandbox.d1.acs.purchase import Flow, Purchase
from sandbox.d1.model.contract import NOTIFY_THREE_DS_OPERATION
from sandbox.demo.shopper import CARD as SHOPPERS_CARD
from sandbox.demo.shopper import Shopper
from sandbox.demo.sights import NOTIFICATIONS, PURCHASES
from sandbox.demo.stage import CALL_SECONDS, Stage, expect_error
from sandbox.demo.steps import UnexpectedError, expect

__all__ = ["Notifications"]

_Watch: TypeAlias = (
    "grpc.aio.UnaryStreamCall[notification.WatchNotificationsRequest, notification.WatchNotificationsResponse]"
)


class Notifications:
    """Each notification reaches a subscriber once, and streams resume where they stopped."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stub = notification_grpc.NotificationServiceStub(stage.channel)
        self._watch: _Watch | None = None
        self._arrived: deque[notification.Notification] = deque()
        self._cursor = ""
        self._sender = stage.sender
        self._purchase: Purchase | None = None
        """The one whose notification D1 has lost."""

    async def walk(self) -> None:
        """Run the steps; the last ones stop the gateway."""
        self._stage.steps.title(
            "Notifications: D1 -> HTTPS callback -> event log on disk -> gRPC stream", see=NOTIFICATIONS
        )
        await self.walk_arrivals()
        run = self._stage.steps.run
        await run("D1 loses a notification, and has it in its history", self._lost, see=PURCHASES)
        await run("BackfillNotifications: it arrives, as recovered", self._recovered)
        await run("after kill -9, the watch resumes at its cursor", self._survives)
        await run("SIGTERM: the stream ends with SERVER_DRAINING", self._drained)

    async def walk_arrivals(self) -> None:
        """Run the steps that stop nothing."""
        run = self._stage.steps.run
        await run("a subscriber watches new notifications", self._open)
        await run("3DS_CHALLENGE_OOB SUCCESSFUL arrives", lambda: self._arrives("3DS_CHALLENGE_OOB", "SUCCESSFUL"))
        await run("3DS_FRICTIONLESS FAILED arrives", lambda: self._arrives("3DS_FRICTIONLESS", "FAILED"))
        await run("a duplicate is accepted and not delivered again", self._duplicate)
        await run("an operation that D1 adds later is delivered as text", self._unknown_kind)

    async def _open(self) -> str:
        self._watch = self._stub.WatchNotifications(notification.WatchNotificationsRequest())
        self._cursor = (await self._next()).cursor
        return f"cursor {self._cursor}"

    async def _arrives(self, operation: str, status: str) -> str:
        began = time.perf_counter()
        sent = await self._sender.send(operation=operation, status=status)
        got = await self._one()
        milliseconds = (time.perf_counter() - began) * 1000
        expect(got.three_ds_operation.operation_id == sent.operation_id, "another operation arrived")
        kind = threeds.ThreeDSOperationType.Name(got.three_ds_operation.type)
        return f"{got.card_id} {kind}, {milliseconds:.1f} ms after D1 posted it"

    async def _duplicate(self) -> str:
        first = await self._sender.send()
        await self._sender.send(first)
        second = await self._sender.send()
        got = [(await self._one()).three_ds_operation.operation_id for _ in range(2)]
        expect(got == [first.operation_id, second.operation_id], f"{got} arrived")
        return "three responses 204, two notifications"

    async def _unknown_kind(self) -> str:
        await self._sender.send(operation="3DS_SOMETHING_NEW", details={"merchant": {"name": "Books"}})
        operation = (await self._one()).three_ds_operation
        expect(operation.type_text == "3DS_SOMETHING_NEW", operation.type_text)
        return f"{operation.type_text}, unrecognized {sorted(operation.details.unrecognized.fields)}"

    async def _lost(self) -> str:
        self._stage.sandbox.faults.add(Fault(NOTIFY_THREE_DS_OPERATION.name, drop=Drop.FOR_GOOD))
        purchase = Shopper(self._stage).buy(Flow.FRICTIONLESS)
        delivery = await purchase.notified()
        expect(delivery.status is None, f"the notification got HTTP {delivery.status}")
        expect(purchase.operation() in self._stage.sandbox.history.of(SHOPPERS_CARD), "D1's history lacks it")
        self._purchase = purchase
        return f"{purchase.operation_id[:11]}... {purchase.status}: {delivery.error}"

    async def _recovered(self) -> str:
        purchase = self._purchase
        if purchase is None:
            raise UnexpectedError("D1 lost nothing")
        request = notification.BackfillNotificationsRequest(card_ids=[SHOPPERS_CARD])
        request.since_time.FromDatetime(purchase.start_time)
        results = [each async for each in self._stub.BackfillNotifications(request, timeout=CALL_SECONDS)]
        expect([each.card.recovered_count for each in results] == [1], f"the gateway answered {results}")
        got = await self._one()
        expect(got.recovered, "the notification is not marked as recovered")
        expect(got.three_ds_operation.operation_id == purchase.operation_id, "another operation arrived")
        kind = threeds.ThreeDSOperationType.Name(got.three_ds_operation.type)
        return f"{got.three_ds_operation.operation_id[:11]}... {kind}, fetched from D1's history"

    async def _survives(self) -> str:
        sent = await self._sender.send()
        gateway = self._stage.gateway
        await gateway.restart()
        self._watch = self._stub.WatchNotifications(
            notification.WatchNotificationsRequest(after_cursor=self._cursor), wait_for_ready=True
        )
        got = await self._one()
        expect(got.three_ds_operation.operation_id == sent.operation_id, "another operation arrived")
        return f"{sent.operation_id[:11]}... got a 204 before the kill and arrives after it"

    async def _drained(self) -> str:
        stopping = asyncio.create_task(self._stage.gateway.stop())
        try:
            await self._next()
        except grpc.aio.AioRpcError as error:
            draining = expect_error(error, error_pb2.ERROR_REASON_SERVER_DRAINING, error_pb2.ERROR_OUTCOME_NOT_SENT)
            return f"{draining}; the gateway's exit status is {await stopping}"
        finally:
            await stopping
        raise UnexpectedError("the stream did not end")

    async def _next(self) -> notification.WatchNotificationsResponse:
        batch = None if self._watch is None else await self._watch.read()
        if not isinstance(batch, notification.WatchNotificationsResponse):
            raise UnexpectedError("the stream ended")
        return batch

    async def _one(self) -> notification.Notification:
        while not self._arrived:
            self._arrived.extend((await self._next()).notifications)
        arrived = self._arrived.popleft()
        self._cursor = arrived.cursor
        return arrived
