"""The circuit breaker on a clock that stands still until it is moved."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.circuit_breaker import CircuitBreaker
from gateway.ports.meter import CircuitState

_FAILURES = 3
_LONGEST = 2.0


@dataclass
class Circuit:
    """A breaker, its clock, and what it told of its state."""

    now: float = 100.0
    spread: float = 1.0
    states: list[CircuitState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breaker = CircuitBreaker(
            failures=_FAILURES,
            max_pause_seconds=_LONGEST,
            on_state_change=self.states.append,
            clock=lambda: self.now,
            spread=lambda: self.spread,
        )

    def request(self, *, succeeded: bool | None, is_background: bool = False) -> None:
        assert self.breaker.seconds_left() == 0
        with self.breaker.attempt(is_background=is_background) as attempt:
            attempt.succeeded = succeeded

    def fail_until_open(self) -> None:
        for _ in range(_FAILURES):
            self.request(succeeded=False)
        assert self.states[-1] == "open"

    def wait(self) -> float:
        """Wait until the next request is let through; tells how long that took."""
        seconds = self.breaker.seconds_left()
        self.now += seconds
        return seconds


@pytest.mark.parametrize(
    "before",
    [(False, False), (False, False, True, False, False), (False, None, False, None, None)],
    ids=["failures", "a success between them", "what proves nothing"],
)
def test_failures_in_a_row_open_it(before: tuple[bool | None, ...]) -> None:
    circuit = Circuit()
    for succeeded in before:
        circuit.request(succeeded=succeeded)
    assert circuit.states == ["closed"]
    assert circuit.breaker.seconds_left() == 0

    circuit.request(succeeded=False)

    assert circuit.states == ["closed", "open"]
    assert circuit.breaker.seconds_left() == 0.5


def test_after_the_pause_one_request_is_let_through_and_closes_it_if_it_goes_well() -> None:
    circuit = Circuit()
    circuit.fail_until_open()
    circuit.wait()

    with circuit.breaker.attempt() as attempt:
        assert circuit.breaker.seconds_left() > 0, "a second one is let through"
        attempt.succeeded = True

    assert circuit.states == ["closed", "open", "half_open", "closed"]
    circuit.request(succeeded=False)
    circuit.request(succeeded=False)
    assert circuit.states[-1] == "closed", "old failures count still"


def test_each_pause_is_longer_up_to_a_limit_and_the_first_one_is_short_again_after_a_recovery() -> None:
    circuit = Circuit()
    circuit.fail_until_open()
    pauses = []
    for _ in range(2000):
        pauses.append(circuit.wait())
        circuit.request(succeeded=False)
    assert pauses[:4] == [0.5, 1.0, 2.0, 2.0]
    assert max(pauses) == _LONGEST

    circuit.wait()
    circuit.request(succeeded=True)
    circuit.fail_until_open()

    assert circuit.wait() == 0.5


def test_the_pauses_of_several_instances_differ_by_half() -> None:
    pauses = []
    for spread in (0.0, 0.5, 1.0):
        circuit = Circuit(spread=spread)
        circuit.fail_until_open()
        pauses.append(circuit.wait())

    assert pauses == [0.25, 0.375, 0.5]


def test_a_try_that_was_given_up_leaves_it_to_the_next_one_at_once() -> None:
    circuit = Circuit()
    circuit.fail_until_open()
    circuit.wait()
    circuit.request(succeeded=None)
    assert circuit.breaker.seconds_left() == 0

    circuit.request(succeeded=True)

    assert circuit.states[-1] == "closed"


def test_a_try_that_hangs_holds_the_next_one_up_no_longer_than_the_longest_pause() -> None:
    circuit = Circuit()
    circuit.fail_until_open()
    circuit.wait()
    with circuit.breaker.attempt() as hanging:
        assert circuit.wait() == _LONGEST
        circuit.request(succeeded=True)
        assert circuit.states[-1] == "closed"
        hanging.succeeded = False

    assert circuit.states[-1] == "closed", "the one that hung was from before"


def test_a_request_that_breaks_off_with_an_error_of_its_own_says_nothing() -> None:
    circuit = Circuit()
    for _ in range(_FAILURES):
        with pytest.raises(KeyError), circuit.breaker.attempt():
            raise KeyError

    assert circuit.states == ["closed"]


def test_what_went_out_before_it_opened_is_out_of_date() -> None:
    circuit = Circuit()
    with circuit.breaker.attempt() as good, circuit.breaker.attempt() as bad:
        circuit.fail_until_open()
        good.succeeded, bad.succeeded = True, False

    assert circuit.states == ["closed", "open"]
    assert circuit.breaker.seconds_left() == 0.5


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.floats(0, 5)), max_size=200), st.floats(0, 1))
def test_whatever_happens_a_request_is_let_through_after_the_longest_pause(
    story: list[tuple[bool | None, float]], spread: float
) -> None:
    circuit = Circuit(spread=spread)
    for succeeded, seconds in story:
        assert circuit.breaker.seconds_left() <= _LONGEST
        circuit.wait()
        circuit.request(succeeded=succeeded)
        circuit.now += seconds
    circuit.wait()
    circuit.request(succeeded=True)

    assert circuit.states[-1] == "closed"
    assert all(before != after for before, after in zip(circuit.states, circuit.states[1:], strict=False))


@pytest.mark.parametrize("succeeded", [True, False])
def test_calls_in_the_background_neither_open_it_nor_keep_it_closed(succeeded: bool) -> None:  # noqa: FBT001
    circuit = Circuit()
    for _ in range(_FAILURES):
        assert circuit.states == ["closed"]
        for _ in range(10):
            circuit.request(succeeded=succeeded, is_background=True)
        circuit.request(succeeded=False)
    assert circuit.states == ["closed", "open"]


def test_a_call_in_the_background_is_a_probe_like_any_other() -> None:
    circuit = Circuit()
    circuit.fail_until_open()
    circuit.wait()
    circuit.request(succeeded=False, is_background=True)
    circuit.wait()
    circuit.request(succeeded=True, is_background=True)
    assert circuit.states == ["closed", "open", "half_open", "open", "half_open", "closed"]
