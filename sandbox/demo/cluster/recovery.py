"""Last part: the killed processes start again, and nothing is lost."""

import asyncio
import time
from collections import Counter
from http import HTTPStatus

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.demo.cluster.site import Site, readiness
from sandbox.demo.cluster.watcher import Watcher
from sandbox.demo.shopper import Shopper
from sandbox.demo.steps import UnexpectedError, expect
from sandbox.handler import Handler
from sandbox.nats import NatsServer

__all__ = ["Recovery"]

_HEARTBEATS, _HEARTBEAT_MS = 3, 500


class Recovery:
    """Back to two gateways and three NATS servers."""

    def __init__(self, site: Site, at_b: Watcher, server: NatsServer | None) -> None:
        """Prepare the steps.

        Args:
            site: Has gateway B, which is down.
            at_b: The watcher at gateway B.
            server: The NATS server that is down.
        """
        self._site = site
        self._at_b = at_b
        self._server = server

    async def walk(self) -> None:
        """Run the steps; the last one stops the gateways."""
        run = self._site.steps.run
        self._site.steps.title("Both are started again")
        await run("the NATS server is back and catches up", self._nats)
        await run("gateway B is back and ready", self._gateway)
        await run("a handler at B answers callbacks that D1 sends to A", self._callback)
        await run("B's watcher stands by", self._standby)
        await run("each notification with a 204 is in the event log once", self._log)
        await run("SIGTERM: both gateways shut down gracefully", self._end)

    async def _nats(self) -> str:
        if self._server is None:
            raise UnexpectedError("no NATS server was killed")
        began = time.monotonic()
        await self._server.restart()
        state = await self._site.until_in_step()
        return f"{self._server.name} after {time.monotonic() - began:.1f} s: {state}"

    async def _gateway(self) -> str:
        await self._site.b.gateway.restart()
        await self._site.b.channel.channel_ready()
        return await readiness(self._site.b)

    async def _callback(self) -> str:
        self._site.d1_calls(self._site.a)
        shopper = Shopper(self._site.b)
        async with Handler.connect(self._site.b.channel, shopper.responders(), name="demo"):
            return await shopper.otp_by_issuer()

    async def _standby(self) -> str:
        await self._at_b.becomes(notification.WATCHER_ROLE_STANDBY)
        return "A's watcher stays active"

    async def _log(self) -> str:
        purchases = self._site.sandbox.purchases.all()
        taken = set(self._site.sender.operation_ids)
        taken |= {
            each.operation_id for each in purchases if each.delivery and each.delivery.status == HTTPStatus.NO_CONTENT
        }
        kept = await self._read()
        missing, repeated = taken - kept.keys(), [each for each, count in kept.items() if count > 1]
        expect(not missing and not repeated, f"{len(missing)} are missing, {len(repeated)} are duplicated")
        return f"{len(taken)} operations, read at B from the beginning"

    async def _read(self) -> Counter[str]:
        """Return how often each operation is in the log."""
        request = notification.WatchNotificationsRequest(
            position=notification.START_POSITION_EARLIEST,
            filter=notification.NotificationFilter(three_ds_operations=notification.ThreeDSOperationFilter()),
        )
        request.heartbeat_interval.FromMilliseconds(_HEARTBEAT_MS)
        kept: Counter[str] = Counter()
        silence = 0
        watch = NotificationServiceStub(self._site.b.channel).WatchNotifications(request)
        try:
            # A heartbeat means that nothing more has arrived; one may also precede the first notification.
            while silence < _HEARTBEATS and isinstance(
                batch := await watch.read(), notification.WatchNotificationsResponse
            ):
                kept.update(each.three_ds_operation.operation_id for each in batch.notifications)
                silence = 0 if batch.notifications else silence + 1
        finally:
            watch.cancel()
        return kept

    async def _end(self) -> str:
        a, b = await asyncio.gather(self._site.a.gateway.stop(), self._site.b.gateway.stop())
        expect((a, b) == (0, 0), f"the exit statuses are {a} and {b}")
        return "exit status 0 and 0"
