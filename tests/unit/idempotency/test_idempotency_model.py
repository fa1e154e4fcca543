"""Repeated calls against a model: however calls, failures, deaths and time mix, no change is made twice."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import GatewayError
from gateway.idempotency.replies import TTL_SECONDS, Reply
from gateway.idempotency.requests import MutatingRpc
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore
from tests.unit.idempotency.idempotency_calls import (
    CREATE,
    LEASE_SECONDS,
    REGISTER,
    Upstream,
    ask,
    failure,
    instance,
)

_Known = Literal["running", "died", "replied", "undecided"]
_OUTCOMES = {
    "not sent": error_pb2.ERROR_OUTCOME_NOT_SENT,
    "rejected": error_pb2.ERROR_OUTCOME_REJECTED,
    "unknown": error_pb2.ERROR_OUTCOME_UNKNOWN,
}

rpcs = st.sampled_from([CREATE, REGISTER])
contents = st.sampled_from([b"a", b"a", b"a", b"b"])
places = st.integers(0, 1)
ends = st.sampled_from(["success", *_OUTCOMES, "fault"])


@dataclass
class Entry:
    """What the model knows of an rpc under the one id that is used."""

    content: bytes
    known: _Known
    place: int
    expiry: float
    lease_end: float
    card_id: str = ""


@dataclass(frozen=True)
class Running:
    """A call that waits for its upstream."""

    task: "asyncio.Task[Reply]"
    released: asyncio.Event
    card_id: str


class CallsBesideModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = FakeKeyValueStore()
        self.instances = [instance(self.store) for _ in range(2)]
        self.upstream = Upstream()
        self.entries: dict[str, Entry] = {}
        self.running: dict[str, Running] = {}
        self.calls = 0

    def teardown(self) -> None:
        self.runner.run(self._end())
        self.runner.close()

    async def _end(self) -> None:
        for running in self.running.values():
            await self._kill(running.task)

    async def _kill(self, task: "asyncio.Task[Reply]") -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @rule(rpc=rpcs, content=contents, place=places, end=ends)
    def call(self, rpc: MutatingRpc, content: bytes, place: int, end: str) -> None:
        expected = self._expected(rpc, content, place)
        self._set(end)
        ended = self.runner.run(self._ended(ask(self.instances[place], self.upstream, rpc=rpc, content=content)))
        self._set("success")
        if expected != "made":
            assert ended == expected
            return
        self.calls += 1
        card_id = f"card-{self.calls}"
        assert ended == (("reply", card_id) if end == "success" else ("raised", end))
        match end:
            case "success":
                self._note(rpc, content, "replied", place, card_id)
            case "unknown" | "fault":
                self._note(rpc, content, "undecided", place)
            case _:
                self.entries.pop(rpc.name, None)

    @rule(rpc=rpcs, content=contents, place=places)
    def begin(self, rpc: MutatingRpc, content: bytes, place: int) -> None:
        if self._expected(rpc, content, place) == "made":
            self.calls += 1
            self.running[rpc.name] = self.runner.run(self._begin(rpc, content, place))
            self._note(rpc, content, "running", place)

    async def _begin(self, rpc: MutatingRpc, content: bytes, place: int) -> Running:
        upstream = self.upstream
        upstream.reached.clear()
        upstream.released, others = asyncio.Event(), upstream.released
        task = asyncio.create_task(ask(self.instances[place], upstream, rpc=rpc, content=content))
        await upstream.reached.wait()
        # It waits for its own event; others are answered at once.
        upstream.released, own = others, upstream.released
        return Running(task, own, f"card-{self.calls}")

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        running, entry = self.running.pop(name), self.entries[name]
        running.released.set()
        assert self.runner.run(self._ended(running.task)) == ("reply", running.card_id)
        entry.known, entry.card_id, entry.expiry = "replied", running.card_id, self.store.now + TTL_SECONDS

    @rule(place=places)
    def die(self, place: int) -> None:
        for name in [name for name in self.running if self.entries[name].place == place]:
            self.runner.run(self._kill(self.running.pop(name).task))
            self.entries[name].known = "died"
        self.instances[place] = instance(self.store)
        for entry in self.entries.values():
            # The new instance does not know whose marker it is.
            entry.place = -1 if entry.place == place else entry.place

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS, TTL_SECONDS / 2]))
    def wait(self, seconds: float) -> None:
        # A call takes no longer than its lease.
        if not self.running:
            self.store.now += seconds

    @invariant()
    def made_as_often_as_expected(self) -> None:
        assert self.upstream.calls == self.calls

    def _expected(self, rpc: MutatingRpc, content: bytes, place: int) -> Any:
        entry = self.entries.get(rpc.name)
        if entry is None or self.store.now >= entry.expiry:
            return "made"
        if entry.content != content:
            return "raised", "REQUEST_ID_REUSED"
        if entry.known == "replied":
            return "reply", entry.card_id
        if entry.known == "running" or (
            entry.known == "died" and entry.place != place and self.store.now < entry.lease_end
        ):
            return "raised", "REQUEST_IN_FLIGHT"
        return "made" if rpc.repeatable else ("raised", "known to be unknown")

    def _note(self, rpc: MutatingRpc, content: bytes, known: _Known, place: int, card_id: str = "") -> None:
        now = self.store.now
        self.entries[rpc.name] = Entry(content, known, place, now + TTL_SECONDS, now + LEASE_SECONDS, card_id)

    def _set(self, end: str) -> None:
        if end == "fault":
            self.upstream.failure = ZeroDivisionError()
        else:
            self.upstream.failure = None if end == "success" else failure(_OUTCOMES[end])

    async def _ended(self, call: Any) -> tuple[str, str]:
        try:
            reply: Reply = await call
        except ZeroDivisionError:
            return "raised", "fault"
        except GatewayError as error:
            if error is self.upstream.failure:
                return "raised", next(end for end, outcome in _OUTCOMES.items() if outcome == error.outcome)
            if error.outcome == error_pb2.ERROR_OUTCOME_UNKNOWN:
                return "raised", "known to be unknown"
            return "raised", error.reason_name
        message: Any = reply.message
        return "reply", message.card_id


TestCallsBesideModel = CallsBesideModel.TestCase
TestCallsBesideModel.settings = settings(max_examples=150, stateful_step_count=30)
