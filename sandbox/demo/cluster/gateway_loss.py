"""Second part: a gateway is killed with a callback at its handler and a subscription's active watcher."""

import time
from http import HTTPStatus

from issuer.notification.v1 import messages_pb2 as notification
from sandbox.common.faults import Fault
from sandbox.d1.acs.purchase import Flow, Purchase, Status
from sandbox.d1.model.contract import Operation
from sandbox.demo.cluster.callers import SteadyCallers
from sandbox.demo.cluster.site import Site
from sandbox.demo.cluster.watcher import Watcher
from sandbox.demo.hanging import HangingHandler
from sandbox.demo.shopper import Shopper
from sandbox.demo.steps import UnexpectedError, expect
from sandbox.handler import Handler

__all__ = ["GatewayLoss"]

_CALL_MS = 100
_CALLS_AFTER = 20
_MANY = 1_000_000


class GatewayLoss:
    """What the surviving gateway takes over from the killed one."""

    def __init__(self, site: Site, at_a: Watcher, at_b: Watcher) -> None:
        """Prepare the steps.

        Args:
            site: Has gateway B, which is killed.
            at_a: The watcher that takes over.
            at_b: The watcher that is active first.
        """
        self._site = site
        self._at_a = at_a
        self._at_b = at_b
        self._shopper = Shopper(site.a)
        self._without_reply: Purchase | None = None
        self._committed = ""
        self._uncommitted = ""
        self._killed_at = 0.0

    async def walk(self) -> None:
        """Run the steps."""
        site, run = self._site, self._site.steps.run
        site.steps.title("Gateway B is killed (SIGKILL)")
        site.d1_calls(site.a)
        await run("a subscription: active at B, standing by at A", self._subscribed)
        # So that some calls are in flight when B is killed.
        site.sandbox.faults.add(Fault(Operation.LIST_THREE_DS_OPERATIONS.value, _MANY, latency_ms=_CALL_MS))
        async with SteadyCallers.calling(site.both) as callers:

            async def calls() -> str:
                await callers.succeeded(_CALLS_AFTER)
                return f"{callers.calls} calls through both addresses succeeded, with {callers.repeats} retries"

            await run("killed with a callback at its handler: A's handler replies", self._callback)
            await run("its handler had an OTP too: no second handler sends it", self._fallback)
            await run("the subscription's stand-by at A takes over", self._takes_over)
            await run("D1 cannot reach B's edge and calls A's", self._notified)
            await run("clients retry calls that were UNAVAILABLE", calls)
        site.sandbox.faults.clear()

    async def _subscribed(self) -> str:
        self._at_b.start()
        await self._at_b.becomes(notification.WATCHER_ROLE_ACTIVE)
        self._at_a.start()
        await self._at_a.becomes(notification.WATCHER_ROLE_STANDBY)
        sender = self._site.sender
        self._committed, self._uncommitted = [(await sender.send()).operation_id for _ in range(2)]
        await self._at_b.receives(self._uncommitted)
        await self._at_b.commit(self._committed)
        return f"two notifications arrive at B, fencing token {self._at_b.fencing_token}; the first is committed"

    async def _callback(self) -> str:
        shopper = self._shopper
        async with HangingHandler.connect(self._site.b) as hanging:
            purchase, self._without_reply = shopper.buy(Flow.SMS_OTP), shopper.buy(Flow.SMS_OTP_ISSUER)
            kinds = {await hanging.callback_kind(), await hanging.callback_kind()}
            expect(kinds == {"deliver_otp", "consumer_information"}, f"its callbacks were {kinds}")
            await self._site.b.gateway.kill()
            self._killed_at = time.monotonic()
            async with Handler.connect(self._site.a.channel, shopper.responders()) as handler:
                ended = await shopper.enter_otp_by_d1(purchase)
                await self._shopper.over(self._without_reply, Status.FAILED)
                repeated = {request.WhichOneof("request") for request in handler.requests}
                expect(repeated == {"consumer_information"}, f"the other handler got {repeated}")
                attempt, call = handler.requests[0].attempt, purchase.calls[0]
                return f"as attempt {attempt}; D1 had the reply after {call.milliseconds:.0f} ms; {ended}"

    async def _fallback(self) -> str:
        if self._without_reply is None:
            raise UnexpectedError("the handler got no callback")
        call = self._without_reply.calls[0]
        expect(call.status == HTTPStatus.INTERNAL_SERVER_ERROR, f"D1 got HTTP {call.status}")
        return f"after {call.milliseconds:.0f} ms D1 got HTTP {call.status}; the purchase FAILED and was notified"

    async def _takes_over(self) -> str:
        await self._at_a.becomes(notification.WATCHER_ROLE_ACTIVE)
        await self._at_a.receives(self._uncommitted)
        expect(self._committed not in self._at_a.operation_ids, "a committed notification arrived again")
        expect(self._at_a.fencing_token > self._at_b.fencing_token, f"fencing token {self._at_a.fencing_token}")
        seconds = self._at_a.role_time - self._killed_at
        token = self._at_a.fencing_token
        return f"{seconds:.1f} s after the kill, fencing token {token}; the uncommitted one arrives again"

    async def _notified(self) -> str:
        self._site.d1_calls(self._site.b)
        sent = await self._site.sender.send()
        await self._at_a.receives(sent.operation_id)
        await self._at_a.commit(sent.operation_id)
        return f"{sent.operation_id[:11]}... got a 204 and arrives at A"
