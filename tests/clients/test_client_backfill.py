"""Backfills through the client: which cards it asks for, and what ends a backfill."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from grpc_status import rpc_status

from d1_gateway_client import AsyncGatewayClient, BackfillProgress, GatewayClient, errors
from d1_gateway_client.cli.backfill_progress import Tally
from d1_gateway_client.cli.backfill_state import State, UnusableCardsError, UnusableStateError, read_cards
from d1_gateway_client.contracts.issuer.common.v1 import ErrorReason
from d1_gateway_client.contracts.issuer.notification.v1 import (
    BackfillNotificationsRequest,
    BackfillNotificationsResponse,
    BackfillPause,
    CardBackfill,
    CardBackfillError,
)
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from sandbox.common.pki import Pki
from tests.clients.client_gateways import CORRELATION_ID, options_for, serving

SINCE = datetime(2026, 1, 31, 12, tzinfo=UTC)
Answer: TypeAlias = BackfillNotificationsResponse | GatewayError | None
"""None: silence."""


def done(*card_ids: str) -> list[Answer]:
    return [BackfillNotificationsResponse(card=CardBackfill(card_id=each, recovered_count=1)) for each in card_ids]


def failing(reason: "error_pb2.ErrorReason.ValueType") -> GatewayError:
    return GatewayError(reason, "from the stand-in", retry_after_seconds=0)


DRAINING = failing(error_pb2.ERROR_REASON_SERVER_DRAINING)
FULL = failing(error_pb2.ERROR_REASON_TOO_MANY_REQUESTS)
DENIED = failing(error_pb2.ERROR_REASON_PERMISSION_DENIED)
FAULT = failing(error_pb2.ERROR_REASON_INTERNAL)


class Script(grpc.GenericRpcHandler):
    """Answers each request as told, and any further one with all its cards."""

    def __init__(self, *answers: Sequence[Answer]) -> None:
        self._answers = [*answers]
        self.requests: list[BackfillNotificationsRequest] = []
        self.is_left = asyncio.Event()

    @property
    def asked(self) -> list[list[str]]:
        return [request.card_ids for request in self.requests]

    def service(self, handler_call_details: Any) -> Any:
        del handler_call_details

        async def serve(request: bytes, context: Any) -> AsyncIterator[bytes]:
            asked = BackfillNotificationsRequest.parse(request)
            self.requests.append(asked)
            try:
                for answer in self._answers.pop(0) if self._answers else done(*asked.card_ids):
                    if isinstance(answer, GatewayError):
                        await context.abort_with_status(rpc_status.to_status(answer.to_status(CORRELATION_ID)))
                    elif answer is None:
                        await asyncio.Event().wait()
                    else:
                        yield bytes(answer)
            finally:
                self.is_left.set()

        return grpc.unary_stream_rpc_method_handler(serve)


@pytest.fixture(params=[False, True], ids=["asyncio", "threads"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def backfilled(pki: Pki, script: Script, *card_ids: str, blocking: bool, **changes: Any) -> list[str]:
    """Run a backfill against a stand-in; return the cards told, in order, and "pause" for each pause."""
    told: list[BackfillProgress] = []
    async with serving(pki, script) as address, asyncio.timeout(30):
        options = options_for(address, pki, **changes)
        if blocking:
            with GatewayClient(options) as client:
                iterator = client.notifications.backfill(card_ids, since=SINCE, issuer_id="x" * 10)
                await asyncio.to_thread(lambda: told.extend(iterator))
        else:
            async with AsyncGatewayClient(options) as made:
                async for each in made.notifications.backfill(card_ids, since=SINCE, issuer_id="x" * 10):
                    told.append(each)  # noqa: PERF401 (what came before a failure counts)
    return ["pause" if isinstance(each, BackfillPause) else each.card_id for each in told]


async def test_cards_are_asked_for_once_each_a_thousand_at_a_time(pki: Pki, *, blocking: bool) -> None:
    script, cards = Script(), [f"card-{number}" for number in range(2100)]

    assert await backfilled(pki, script, *cards, "card-7", blocking=blocking) == cards

    assert script.asked == [cards[:1000], cards[1000:2000], cards[2000:]]
    assert {(request.since_time, request.issuer_id) for request in script.requests} == {(SINCE, "x" * 10)}


async def test_no_cards_are_no_request(pki: Pki, *, blocking: bool) -> None:
    script = Script()
    assert await backfilled(pki, script, blocking=blocking) == []
    assert script.requests == []


@pytest.mark.parametrize("end", [[DRAINING], [FULL], []], ids=["draining", "full", "early end"])
async def test_what_ends_early_resumes_with_the_cards_without_a_message(
    pki: Pki, end: list[Answer], *, blocking: bool
) -> None:
    pause: Answer = BackfillNotificationsResponse(pause=BackfillPause(reason=ErrorReason.UPSTREAM_RATE_LIMITED))
    of_later: Answer = BackfillNotificationsResponse()
    script = Script([*done("a"), pause, of_later, *end], *([end] * 3), [*done("b"), *end])

    told = await backfilled(pki, script, "a", "b", "c", blocking=blocking, max_attempts=2)

    assert told == ["a", "pause", "b", "c"]
    assert script.asked == [["a", "b", "c"], *([["b", "c"]] * 4), ["c"]]


@pytest.mark.parametrize("end", [DRAINING, FAULT, DENIED])
async def test_how_a_stream_ends_is_of_no_interest_once_its_cards_are_told(
    pki: Pki, end: GatewayError, *, blocking: bool
) -> None:
    script = Script([*done("a", "b"), end])
    assert await backfilled(pki, script, "a", "b", blocking=blocking) == ["a", "b"]
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("answers", "reason", "count"),
    [
        ([[DENIED]], "PERMISSION_DENIED", 1),
        ([[*done("a"), FAULT]], "INTERNAL", 1),
        ([[DRAINING]] * 9, "SERVER_DRAINING", 3),
    ],
    ids=["refused", "a fault", "not to be reached at its start"],
)
async def test_what_another_request_cannot_help_is_raised(
    pki: Pki, answers: list[list[Answer]], reason: str, count: int, *, blocking: bool
) -> None:
    script = Script(*answers)
    with pytest.raises(errors.GatewayError) as caught:
        await backfilled(pki, script, "a", "b", blocking=blocking, max_attempts=3)
    assert (caught.value.reason.name, len(script.requests)) == (reason, count)


async def test_a_backfill_that_is_closed_is_cancelled_at_the_gateway(pki: Pki, *, blocking: bool) -> None:
    script, cards = Script([*done("a"), None]), ["a", "b"]
    async with serving(pki, script) as address, asyncio.timeout(30):
        options = options_for(address, pki)
        if blocking:

            def first() -> None:
                with closing(client.notifications.backfill(cards, since=SINCE)) as told:
                    next(told)

            with GatewayClient(options) as client:
                await asyncio.to_thread(first)
                await script.is_left.wait()
        else:
            async with AsyncGatewayClient(options) as made:
                async with aclosing(made.notifications.backfill(cards, since=SINCE)) as told:
                    await anext(told)
                await script.is_left.wait()
    assert len(script.requests) == 1


async def test_a_time_without_a_zone_is_refused(pki: Pki) -> None:
    with (
        GatewayClient(options_for("127.0.0.1:9", pki)) as client,
        pytest.raises(ValueError, match="time zone"),
    ):
        next(client.notifications.backfill(["a"], since=SINCE.replace(tzinfo=None)))


def test_a_list_has_a_card_id_on_a_line_and_comments() -> None:
    document = b"\xef\xbb\xbf# of Friday\r\n\r\ncard-1\r\n  card_2  # UPSTREAM_NOT_FOUND: why\n\tcard-1\n#card-3\nC4"
    assert read_cards(document) == ["card-1", "card_2", "C4"]
    assert read_cards(b"") == read_cards(b"\n# none\n") == []


@pytest.mark.parametrize("wrong", [b"card 1", b"card,1", b"x" * 49, "card-\u00f6".encode(), b"\xff", b"card-1\x00"])
def test_a_line_that_is_no_card_id_is_named_by_its_number(wrong: bytes) -> None:
    with pytest.raises(UnusableCardsError) as caught:
        read_cards(b"card-1\n\n" + wrong + b"\ncard-2\n" + wrong)
    assert caught.value.line_numbers == [3, 5]


def begun(file: Path, since: str = "2h", issuer_id: str = "", since_time: datetime = SINCE) -> State:
    return State.open(file, since, since_time, issuer_id)


def test_a_state_knows_the_cards_that_are_done_and_the_time_of_the_first_run(tmp_path: Path) -> None:
    file = tmp_path / "cards.state"
    with begun(file) as first:
        assert first.done == {}
        first.add("card-1", 2)
        first.add("card-2", 0)
    with begun(file, since_time=SINCE + timedelta(hours=5)) as second:
        assert (second.done, second.since_time) == ({"card-1": 2, "card-2": 0}, SINCE)
        second.add("card-3", 1)
    assert file.stat().st_mode & 0o777 == 0o600
    with begun(file) as third:
        assert [*third.done] == ["card-1", "card-2", "card-3"]
        third.remove()
    assert not file.exists()


def test_whatever_a_crash_has_left_of_a_state_can_be_resumed(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    with begun(whole) as state:
        for number in range(3):
            state.add(f"card-{number}", 12)
    content = whole.read_bytes()
    for length in range(len(content)):
        (torn := tmp_path / "torn").write_bytes(content[:length])
        with begun(torn) as state:
            done = len(state.done)
            assert [*state.done] == [f"card-{number}" for number in range(done)]
            assert done == max(0, content[:length].count(b"\n") - 1)
            state.add("c", 0)
        with begun(torn) as state:
            assert [*state.done] == [*(f"card-{number}" for number in range(done)), "c"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"card-1\ncard-2\n", "is not the state of a backfill"),
        (b"[1]\n", "is not the state of a backfill"),
        (b"card-1", "is not the state of a backfill"),
        (b"{}\n", "is not the state of a backfill"),
        (b"\xff\x00\n", "is not the state of a backfill"),
        (b'{"backfill": 1, "issuer_id": "", "since": "2h", "since_time": "2026-01-31T12:00:00"}\n', "is not the state"),
        (b'{"backfill": 2, "issuer_id": "", "since": "2h", "since_time": "2026-01-31T12:00:00Z"}\n', "of another"),
        (b'{"backfill": 1, "issuer_id": "", "since": "2h", "since_time": "2026-01-31T12:00:00Z"}\nx\n', "is damaged"),
    ],
)
def test_a_file_that_is_no_state_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes, fault: str) -> None:
    (file := tmp_path / "file").write_bytes(content)
    with pytest.raises(UnusableStateError, match=fault):
        begun(file)
    assert file.read_bytes() == content


@pytest.mark.parametrize(("since", "issuer_id"), [("3h", ""), ("2h", "ISSUER0001")])
def test_the_state_of_another_backfill_is_refused(tmp_path: Path, since: str, issuer_id: str) -> None:
    file = tmp_path / "cards.state"
    with begun(file):
        pass
    with pytest.raises(UnusableStateError, match="another backfill"):
        begun(file, since, issuer_id)


def test_two_commands_cannot_use_one_state(tmp_path: Path) -> None:
    with begun(tmp_path / "state"), pytest.raises(UnusableStateError, match="in use"):
        begun(tmp_path / "state")


def a_tally(total: int) -> tuple[Tally, Callable[[float], None]]:
    now = [0.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return Tally(total, clock=lambda: now[0]), pass_time


def test_the_rate_is_that_of_the_last_minute_and_says_what_is_left() -> None:
    tally, pass_time = a_tally(700)
    assert tally.in_words() == "0/700 cards, 0.0/s, ? left, 0 recovered, 0 failed"
    for _ in range(100):
        pass_time(0.1)
        tally.take(CardBackfill(recovered_count=2))
    assert tally.in_words() == "100/700 cards, 10.0/s, 0:01:00 left, 200 recovered, 0 failed"
    for _ in range(300):
        pass_time(0.2)
        tally.take(CardBackfill(error=CardBackfillError()))
    assert tally.in_words() == "400/700 cards, 5.0/s, 0:01:00 left, 200 recovered, 300 failed"
    pass_time(90)
    assert "0.0/s, ? left" in tally.in_words()


def test_the_summary_says_what_is_unusual() -> None:
    tally, _ = a_tally(3)
    tally.take(CardBackfill(recovered_count=1))
    assert tally.summary() == "1 of 3 cards done, 1 notifications recovered"
    tally.take(CardBackfill(recovered_count=2, differing_count=1, unusable_count=4))
    tally.take(CardBackfill(error=CardBackfillError()))
    assert tally.summary() == (
        "2 of 3 cards done, 3 notifications recovered, 1 of them in another state than the event log had, "
        "4 operations without a usable id, 1 failed"
    )
