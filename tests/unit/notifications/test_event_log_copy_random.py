"""Whatever happens to two logs and between them: no watcher misses anything, and nothing stands anywhere twice."""

from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.fakes import ISSUER
from tests.unit.notifications.event_log_copies import FakeSide, broken_off, copied, driven

_SIDES: Final = st.integers(0, 1)


class TwoLogs(RuleBasedStateMachine):
    """Two logs, each with the cursor of one subscription, whose watcher may have committed at both of them."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = (FakeSide("aaaaaaaa"), FakeSide("bbbbbbbb"))
        self.count = 0
        self.done: set[int] = set()
        """What the watcher has committed, wherever; and what was trimmed, wherever."""
        self.trimmed: tuple[set[int], set[int]] = (set(), set())

    @rule(side=_SIDES, count=st.integers(1, 7), gap=st.integers(0, 2))
    def take(self, side: int, count: int, gap: int) -> None:
        self.sides[side].put(*range(self.count, self.count + count), gap=gap)
        self.count += count

    @rule(data=st.data(), side=_SIDES)
    def take_what_the_other_one_has(self, data: st.DataObject, side: int) -> None:
        missing = set(self.sides[1 - side].numbers) - set(self.sides[side].numbers)
        if missing:
            self.sides[side].put(data.draw(st.sampled_from(sorted(missing))))

    @rule(data=st.data(), side=_SIDES)
    def commit(self, data: st.DataObject, side: int) -> None:
        place = data.draw(st.integers(0, driven(self.sides[side].log.bounds()).last))
        driven(self.sides[side].commit(fraud=place))
        self.done |= self._through(side, place)

    @rule(data=st.data(), side=_SIDES)
    def trim(self, data: st.DataObject, side: int) -> None:
        place = data.draw(st.integers(0, driven(self.sides[side].log.bounds()).last))
        self.trimmed[side].update(self._through(side, place))
        self.done |= self.trimmed[side]
        self.sides[side].log.trim(place)

    @rule(source=_SIDES)
    def copy(self, source: int) -> None:
        here, there = self.sides[source], self.sides[1 - source]
        driven(copied(here, there))
        assert set(here.numbers) <= set(there.numbers) | self.trimmed[1 - source]

    @rule(source=_SIDES, after=st.integers(0, 9))
    def copy_while_the_target_takes_some(self, source: int, after: int) -> None:
        target = self.sides[1 - source]
        at = len(target.log.held) + after
        target.log.on_append = lambda: self.take(1 - source, 2, 0) if len(target.log.held) == at else None
        self.copy(source)
        target.log.on_append = lambda: None

    @rule(source=_SIDES, after=st.integers(0, 9))
    def copy_and_break_off(self, source: int, after: int) -> None:
        driven(broken_off(self.sides[source], self.sides[1 - source], after))

    @invariant()
    def nothing_stands_anywhere_twice(self) -> None:
        for side in self.sides:
            assert len(set(side.numbers)) == len(side.numbers)

    @invariant()
    def no_cursor_has_passed_over_anything(self) -> None:
        for number, side in enumerate(self.sides):
            standing = side.log.subscriptions.get((ISSUER, "fraud"))
            if standing is not None:
                assert self._through(number, standing.committed) <= self.done

    def _through(self, side: int, place: int) -> set[int]:
        log, numbers = self.sides[side].log, self.sides[side].numbers
        return {number for number, stored in zip(numbers, log.held, strict=True) if stored.sequence <= place}


TestTwoLogs = TwoLogs.TestCase
TestTwoLogs.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
