"""The third part: the NATS server that leads the event log is killed, while one gateway is left."""

import asyncio
import time
from http import HTTPStatus

from sandbox.demo.cluster.site import STREAM, Site
from sandbox.demo.cluster.watcher import Watcher
from sandbox.demo.shopper import Shopper
from sandbox.demo.steps import UnexpectedError, expect
from sandbox.handler import Handler
from sandbox.nats import NatsServer

__all__ = ["NatsLoss"]

_REPEAT_SECONDS = 0.25


class NatsLoss:
    """What goes on without a leader, and what goes on when there is another one."""

    def __init__(self, site: Site, at_a: Watcher) -> None:
        """Have lost none yet.

        Args:
            site: Where the server is to be killed.
            at_a: The watcher that is active.
        """
        self.killed: NatsServer | None = None
        """The server that was killed."""
        self._site = site
        self._at_a = at_a
        self._told_last = ""

    async def walk(self) -> None:
        """Take the steps."""
        run = self._site.steps.run
        self._site.steps.title("A NATS server is killed as well (SIGKILL): the one that leads the event log")
        await run("the leader is killed", self._kill)
        await run("a question and its answer need no leader", self._question)
        await run("D1 repeats a notification until it is taken", self._repeated)
        await run("it arrives at A, and is committed", self._committed)

    async def _kill(self) -> str:
        leader = await self._site.nats.leader(STREAM)
        if leader is None:
            raise UnexpectedError("the event log has no leader")
        await leader.kill()
        self.killed = leader
        return f"{leader.name} is gone, two are left"

    async def _question(self) -> str:
        shopper = Shopper(self._site.a)
        async with Handler.connect(self._site.a.channel, shopper.answers(), name="demo"):
            return f"RenewCard, and D1 asks for the new card's data: {await shopper.renewed()}"

    async def _repeated(self) -> str:
        began, statuses = time.monotonic(), list[int]()
        sent = self._site.told.new()
        while not statuses or statuses[-1] != HTTPStatus.NO_CONTENT:
            if statuses:
                await asyncio.sleep(_REPEAT_SECONDS)
            statuses.append(await self._site.told.try_to_send(sent))
        seconds, refused = time.monotonic() - began, statuses[:-1]
        expect(set(refused) <= {HTTPStatus.SERVICE_UNAVAILABLE}, f"D1 was answered {refused}")
        self._told_last = sent.operation_id
        return f"{len(refused)} times 503, then 204: {seconds:.1f} s"

    async def _committed(self) -> str:
        await self._at_a.receives(self._told_last)
        repeats = await self._at_a.commit(self._told_last)
        leader = await self._site.nats.leader(STREAM)
        led = "nobody" if leader is None else leader.name
        return f"fence {self._at_a.fence}, the commit was repeated {repeats} times; {led} leads now"
