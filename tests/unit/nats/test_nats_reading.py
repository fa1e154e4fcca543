"""Reads of a stream whose replicas lag, trim early and lose messages: nothing is missed silently."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.msg import Msg

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError
from adapters.nats.event_log.envelope import pack
from adapters.nats.event_log.reader import Reader
from gateway.ports import Event, LogBounds

STREAM = "test-events"
LOG_ID = "0a1b2c3d"


def event(sequence: int) -> Event:
    return Event("ISSUER0001", 1, f"card-{sequence % 3}", f"operation-{sequence}", "", 0, 0, 1_000 * sequence, b"x")


def subject(sequence: int) -> str:
    return f"test.event.ISSUER0001.1.card-{sequence % 3}.operation-{sequence}"


class Servers:
    """The leader of a stream, and the states of the replicas that respond, in order.

    A state is how far the replica lags behind the leader, how much more it has trimmed, and which of its messages is
    lost.
    """

    def __init__(self, first: int, last: int, copies: Sequence[tuple[int, int, int]], holes: frozenset[int]) -> None:
        self.first, self.last = first, last
        self.holes = holes
        # In the end they agree.
        self._copies = cycle([*copies, (0, 0, -1)])

    def trim(self, through: int) -> None:
        self.first = max(self.first, min(through, self.last) + 1)

    def held(self, first: int, last: int) -> list[int]:
        return [sequence for sequence in range(max(first, 1), last + 1) if sequence not in self.holes]

    async def request(self, where: str, payload: bytes = b"") -> Msg:
        wanted = orjson.loads(payload or b"{}")
        if "STREAM.INFO" in where:
            metadata = {"d1-gateway.log-id": LOG_ID}
            state = {"bytes": 1, "first_seq": self.first, "last_seq": self.last, "last_ts": "2026-01-01T00:00:00Z"}
            return _answer({"config": {"metadata": metadata}, "state": state})
        for sequence in self.held(max(self.first, wanted["seq"]), self.last):
            if _matches(sequence, wanted["next_by_subj"]):
                data = base64.b64encode(pack(event(sequence))).decode()
                return _answer({"message": {"seq": sequence, "data": data}})
        return _answer({"error": {"code": 404, "err_code": 10037, "description": "no message found"}})

    async def gather(self, where: str, payload: bytes, is_last: Callable[[Msg], bool]) -> Sequence[Msg]:
        assert where == f"$JS.API.DIRECT.GET.{STREAM}"
        wanted = orjson.loads(payload)
        lag, ahead, lost = next(self._copies)
        found = [
            sequence
            for sequence in self.held(max(self.first + ahead, wanted["seq"]), self.last - lag)
            if _matches(sequence, wanted.get("next_by_subj", ">"))
        ][: wanted["batch"]]
        messages, previous = [], 0
        for sequence in found:
            headers = {"Nats-Sequence": str(sequence), "Nats-Last-Sequence": str(previous)}
            messages.append(Msg(None, data=pack(event(sequence)), headers=headers))  # type: ignore[arg-type] # unused
            previous = sequence
        del messages[lost : lost + 1 if lost >= 0 else 0]
        messages.append(Msg(None, headers={"Status": "204" if found else "404"}))  # type: ignore[arg-type] # unused
        assert is_last(messages[-1])
        return messages


def _matches(sequence: int, pattern: str) -> bool:
    return pattern == ">" or subject(sequence).startswith(pattern.removesuffix("*"))


def _answer(content: dict[str, Any]) -> Msg:
    return Msg(None, data=orjson.dumps(content))  # type: ignore[arg-type] # unused


def reader_of(servers: Servers) -> Reader:
    return Reader(cast("Connection", servers), STREAM, pause_seconds=0)


async def follow(servers: Servers, limit: int, trims: list[int]) -> tuple[list[int], int]:
    """Read everything like the log, during retention. Returns what was read, and the highest reported trimming."""
    reader = reader_of(servers)
    seen: list[int] = []
    after = trimmed_through = 0
    while after < servers.last:
        found, gap = await reader.read(after, limit, servers.last, 0)
        trimmed_through = max(trimmed_through, gap)
        if after < trimmed_through:
            after = trimmed_through
            continue
        assert [stored.event for stored in found] == [event(stored.sequence) for stored in found]
        seen += [stored.sequence for stored in found]
        after = seen[-1] if found else after
        if trims:
            servers.trim(trims.pop())
    return seen, trimmed_through


copies = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(-1, 4)), max_size=12)


@given(
    first=st.integers(1, 30),
    size=st.integers(0, 30),
    limit=st.integers(1, 10),
    copies=copies,
    trims=st.lists(st.integers(0, 60), max_size=4),
    holes=st.frozensets(st.integers(1, 60), max_size=4),
)
@settings(deadline=None, max_examples=300)
def test_a_reader_gets_every_event_once_or_learns_that_it_is_gone(
    first: int, size: int, limit: int, copies: list[tuple[int, int, int]], trims: list[int], holes: frozenset[int]
) -> None:
    servers = Servers(first, first + size, copies, holes)

    seen, trimmed_through = asyncio.run(follow(servers, limit, trims))

    assert seen == sorted(set(seen))
    missed = set(range(1, servers.last + 1)) - set(seen)
    assert all(sequence <= trimmed_through for sequence in missed)
    # And nothing that is there is reported as trimmed.
    assert trimmed_through < servers.first + 6 or any(sequence <= trimmed_through for sequence in holes)


@given(
    first=st.integers(1, 30),
    size=st.integers(0, 30),
    limit=st.integers(1, 10),
    copies=st.lists(st.tuples(st.integers(0, 30), st.just(0), st.integers(-1, 4)), max_size=12),
    card=st.integers(0, 3),
)
@settings(deadline=None, max_examples=300)
def test_a_reader_of_one_card_gets_each_of_its_events_that_is_there(
    first: int, size: int, limit: int, copies: list[tuple[int, int, int]], card: int
) -> None:
    servers = Servers(first, first + size, copies, frozenset())
    reader = reader_of(servers)

    async def read() -> list[int]:
        seen: list[int] = []
        after = first - 1
        while True:
            found, bounds = await reader.read_subjects(
                after, limit, f"test.event.ISSUER0001.1.card-{card}.*", servers.last
            )
            assert bounds == LogBounds(first - 1, first + size)
            if not found:
                return seen
            seen += [stored.sequence for stored in found]
            after = seen[-1]

    assert asyncio.run(read()) == [place for place in range(first, first + size + 1) if place % 3 == card]


async def test_replicas_that_never_agree_are_an_error_and_not_the_end() -> None:
    class Behind(Servers):
        async def gather(self, where: str, payload: bytes, is_last: Callable[[Msg], bool]) -> Sequence[Msg]:
            del where, payload, is_last
            return [Msg(None, headers={"Status": "404"})]  # type: ignore[arg-type] # unused

    reader = reader_of(Behind(1, 10, (), frozenset()))

    with pytest.raises(NatsError, match="do not agree"):
        await reader.read(0, 10, 10, 0)
    with pytest.raises(NatsError, match="do not agree"):
        await reader.read_subjects(0, 10, "test.event.ISSUER0001.1.card-1.*", 10)


async def test_a_leader_that_does_not_know_yet_what_was_stored_is_not_believed() -> None:
    servers = Servers(1, 5, (), frozenset())

    with pytest.raises(NatsError, match="do not agree"):
        await reader_of(servers).read_subjects(5, 10, "test.event.ISSUER0001.1.card-1.*", 6)
    with pytest.raises(NatsError, match="do not agree"):
        await reader_of(servers).read(5, 10, 6, 0)


async def test_what_is_only_said_to_be_there_is_looked_for_at_the_leader_and_no_failure_if_it_is_not() -> None:
    reader = reader_of(Servers(1, 5, [(1, 0, -1)], frozenset()))

    assert [stored.sequence for stored in (await reader.read(4, 10, 4, 5))[0]] == [5]
    assert await reader.read(5, 10, 5, 1_000_000) == ((), 0)
