"""Third part: the NATS server that leads the event log is killed, with one gateway left."""

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
    """What works without a leader, and what resumes with a new one."""

    def __init__(self, site: Site, at_a: Watcher) -> None:
        """Prepare the steps.

        Args:
            site: Has the NATS server that is killed.
            at_a: The active watcher.
        """
        self.killed: NatsServer | None = None
        """The server that was killed."""
        self._site = site
        self._at_a = at_a
        self._told_last = ""

    async def walk(self) -> None:
        """Run the steps."""
        run = self._site.steps.run
        self._site.steps.title("A NATS server is killed as well (SIGKILL): the one that leads the event log")
        await run("the leader is killed", self._kill)
        await run("a callback needs no leader", self._callback)
        await run("D1 repeats a notification until it is stored", self._repeated)
        await run("it arrives at A and is committed", self._committed)

    async def _kill(self) -> str:
        leader = await self._site.nats.leader(STREAM)
        if leader is None:
            raise UnexpectedError("the event log has no leader")
        await leader.kill()
        self.killed = leader
        return f"{leader.name} is down, two are up"

    async def _callback(self) -> str:
        shopper = Shopper(self._site.a)
        async with Handler.connect(self._site.a.channel, shopper.responders(), name="demo"):
            return f"RenewCard; D1 requests the new card's data: {await shopper.renewed()}"

    async def _repeated(self) -> str:
        began, statuses = time.monotonic(), list[int]()
        sent = self._site.sender.new()
        while not statuses or statuses[-1] != HTTPStatus.NO_CONTENT:
            if statuses:
                await asyncio.sleep(_REPEAT_SECONDS)
            statuses.append(await self._site.sender.try_to_send(sent))
        seconds, refused = time.monotonic() - began, statuses[:-1]
        expect(set(refused) <= {HTTPStatus.SERVICE_UNAVAILABLE}, f"D1 got HTTP {refused}")
        self._told_last = sent.operation_id
        return f"{len(refused)} responses 503, then 204: {seconds:.1f} s"

    async def _committed(self) -> str:
        await self._at_a.receives(self._told_last)
        repeats = await self._at_a.commit(self._told_last)
        leader = await self._site.nats.leader(STREAM)
        led = "nobody" if leader is None else leader.name
        return f"fencing token {self._at_a.fencing_token}, {repeats} retries of the commit; {led} leads now"
