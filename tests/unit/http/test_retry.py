"""Which failures are worth another attempt, when it is made, and what is reported if it fails too."""

import asyncio
from dataclasses import dataclass, field

import pytest

from adapters.d1.api.errors import D1
from adapters.http.response import UpstreamResponse
from adapters.http.retry import is_retryable, pause_seconds, retried
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from tests.unit.http.virtual_time import in_virtual_time


def answered(status: int, retry_after: str = "") -> GatewayError:
    return D1.rejection(UpstreamResponse(status, retry_after), {})


def erro_403() -> GatewayError:
    return D1.error(error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE, "", error_pb2.ERROR_OUTCOME_REJECTED)


UNREACHABLE = D1.unreachable(ConnectionRefusedError())
LOST = D1.no_response()

CASES = {
    # What failed, whether an idempotent call is made again, whether any other is.
    "no connection": (UNREACHABLE, True, True),
    "circuit open": (D1.circuit_open(1.0), False, False),
    "queue full": (D1.queue_full(), False, False),
    "deadline, nothing sent": (D1.deadline_exceeded(sent=False), False, False),
    "deadline": (D1.deadline_exceeded(sent=True), False, False),
    "connection broke": (LOST, True, False),
    "not HTTP": (D1.contract_broken(""), False, False),
    "Erro 403": (erro_403(), True, False),
    **{f"HTTP {status}": (answered(status), True, False) for status in (429, 502, 503, 504)},
    **{f"HTTP {status}": (answered(status), False, False) for status in (301, 400, 401, 403, 404, 409, 500, 501, 507)},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_may_be_made_again(case: tuple[GatewayError, bool, bool]) -> None:
    error, idempotent, other = case
    assert is_retryable(error, idempotent=True) is idempotent
    assert is_retryable(error, idempotent=False) is other


def test_pauses_grow_and_vary() -> None:
    assert [pause_seconds(LOST, attempt, lambda: 0.5) for attempt in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
    assert pause_seconds(LOST, 1, lambda: 0.0) == pytest.approx(0.05)
    assert pause_seconds(LOST, 1, lambda: 1.0) == pytest.approx(0.15)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_requested_pause_is_made_and_a_little_more(status: int) -> None:
    assert pause_seconds(answered(status, "7"), 1, lambda: 0.5) == pytest.approx(7.1)
    assert pause_seconds(answered(status, "soon"), 1, lambda: 0.5) == pytest.approx(0.1)


@dataclass
class Calls:
    """A call that fails as given, then succeeds, and the times of its attempts."""

    failures: list[GatewayError]
    lasts_seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    repetitions: int = 0

    async def attempt(self) -> str:
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.lasts_seconds)
        if len(self.times) <= len(self.failures):
            raise self.failures[len(self.times) - 1]
        return "answer"

    def note(self) -> None:
        self.repetitions += 1

    async def made(self, *, attempts: int = 3, seconds: float = 10.0, idempotent: bool = True) -> str:
        deadline = asyncio.get_running_loop().time() + seconds
        return await retried(
            self.attempt, max_attempts=attempts, deadline=deadline, idempotent=idempotent, on_retry=self.note
        )


def failure(calls: Calls, *, attempts: int = 3, seconds: float = 10.0, idempotent: bool = True) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        in_virtual_time(calls.made(attempts=attempts, seconds=seconds, idempotent=idempotent))
    return caught.value


def test_a_call_is_made_until_it_succeeds() -> None:
    calls = Calls([LOST, answered(503)])

    assert in_virtual_time(calls.made()) == "answer"
    assert (len(calls.times), calls.repetitions) == (3, 2)


@pytest.mark.parametrize("attempts", [1, 4])
def test_a_call_is_made_as_often_as_it_may_be(attempts: int) -> None:
    calls = Calls([UNREACHABLE] * 9)

    assert failure(calls, attempts=attempts) is UNREACHABLE
    assert (len(calls.times), calls.repetitions) == (attempts, attempts - 1)


def test_a_change_is_made_again_only_until_something_was_sent() -> None:
    calls = Calls([UNREACHABLE, LOST, UNREACHABLE])

    assert failure(calls, idempotent=False) is LOST
    assert len(calls.times) == 2


def test_a_pause_that_reaches_the_deadline_is_not_begun() -> None:
    requesting = answered(503, "7")
    calls = Calls([requesting] * 9)

    assert failure(calls, seconds=7.0) is requesting
    assert len(calls.times) == 1


def test_a_requested_pause_is_made_where_time_is_left() -> None:
    calls = Calls([answered(503, "3")])

    in_virtual_time(calls.made())

    assert calls.times[1] - calls.times[0] >= 3


def test_a_call_cancelled_during_a_pause_is_not_made_again() -> None:
    calls = Calls([answered(503, "3")])

    async def story() -> None:
        made = asyncio.create_task(calls.made())
        await asyncio.sleep(1)
        made.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made

    in_virtual_time(story())
    assert len(calls.times) == 1


def test_attempts_that_take_long_leave_less_time_for_others() -> None:
    calls = Calls([LOST] * 9, lasts_seconds=4.0)

    failure(calls, attempts=9)

    assert len(calls.times) == 3


@pytest.mark.parametrize(
    ("failures", "reported"),
    [
        ([UNREACHABLE, UNREACHABLE], 1),
        ([UNREACHABLE, D1.circuit_open(1.0)], 1),
        ([LOST, UNREACHABLE], 0),
        ([LOST, D1.circuit_open(1.0)], 0),
        ([LOST, answered(503)], 0),
        ([LOST, answered(409)], 0),
        ([answered(503), D1.circuit_open(1.0)], 0),
        ([answered(503), LOST], 1),
        ([answered(503), answered(404)], 1),
        ([LOST, answered(504)], 1),
    ],
)
def test_the_failure_that_leaves_most_open_is_reported(failures: list[GatewayError], reported: int) -> None:
    assert failure(Calls(failures), attempts=2) is failures[reported]
