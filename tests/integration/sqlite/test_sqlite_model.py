"""The log against a list as its model."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.sqlite import SqliteStorage
from gateway.ports import Event
from gateway.settings import EventLogSettings
from tests.integration.sqlite.sqlite_events import append_all, event

MAX_AGE_MS = 1_000

some_events = st.lists(
    st.builds(
        lambda number, kind, time_ms, status, state: event(number, kind=kind, time_ms=time_ms)._replace(
            status=status, state=state
        ),
        st.integers(0, 10),
        st.integers(1, 2),
        st.integers(0, 3_000),
        st.integers(0, 1),
        st.sampled_from(["", "CANCELLED"]),
    ),
    max_size=12,
)


class LogBesideList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.now_ms = 0
        self.kept: list[Event] = []
        self.sequences: list[int] = []
        self.trimmed_through = 0
        self.last = 0

    @initialize()
    def open(self) -> None:
        self.storage = self.runner.run(
            SqliteStorage.open(
                Path(self.folder.name) / "events.db",
                retention=EventLogSettings(retention_seconds=MAX_AGE_MS / 1_000),
                trim_interval_seconds=3_600,
                now_ms=lambda: self.now_ms,
            )
        )
        self.log = self.storage.log

    @rule(events=some_events)
    def append_at_once(self, events: list[Event]) -> None:
        held = {(each.kind, each.operation_id, each.status, each.state) for each in self.kept}
        expected = []
        for each in events:
            identity = each.kind, each.operation_id, each.status, each.state
            expected.append(identity not in held)
            if expected[-1]:
                held.add(identity)
                self.kept.append(each)

        assert self.runner.run(append_all(self.log, events)) == expected

        added = [stored.sequence for stored in self.runner.run(self.log.read(self.last, 1_000)).events]
        assert len(added) == sum(expected)
        self.sequences += added
        self.last = max(added, default=self.last)

    @rule(now_ms=st.integers(0, 4_500))
    def trim(self, now_ms: int) -> None:
        self.now_ms = now_ms
        young = [place for place, each in enumerate(self.kept) if each.receive_time_ms >= now_ms - MAX_AGE_MS]
        removed = young[0] if young else len(self.kept)

        assert self.runner.run(self.log.trim()) == removed

        if removed:
            self.trimmed_through = self.sequences[removed - 1]
            del self.kept[:removed], self.sequences[:removed]

    @rule()
    def restart(self) -> None:
        self.runner.run(self.storage.close())
        self.open()

    @rule(time_ms=st.integers(-1, 3_001))
    def find_a_time(self, time_ms: int) -> None:
        later = (
            sequence
            for sequence, each in zip(self.sequences, self.kept, strict=True)
            if each.receive_time_ms >= time_ms
        )
        expected = next((sequence - 1 for sequence in later), self.last)

        assert self.runner.run(self.log.sequence_before(time_ms)) == expected

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        stored = self.runner.run(self.log.read(0, 1_000)).events
        assert [each.event for each in stored] == self.kept
        assert [each.sequence for each in stored] == self.sequences
        assert self.sequences == sorted(set(self.sequences))
        bounds = self.runner.run(self.log.bounds())
        assert (bounds.trimmed_through, bounds.last) == (self.trimmed_through, self.last)

    def teardown(self) -> None:
        self.runner.run(self.storage.close())
        self.runner.close()
        self.folder.cleanup()


LogBesideList.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestLogBesideList = LogBesideList.TestCase
