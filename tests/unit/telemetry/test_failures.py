"""The latest failures, as they are kept for the operators' page."""

import time

import pytest

from gateway.logging import correlation
from gateway.telemetry.failures import Failures


async def test_a_frequent_failure_hides_no_rare_one_and_both_are_counted() -> None:
    failures = Failures()
    failures.note("SuspendCard", "NOT_FOUND", "REJECTED")
    for number in range(1000):
        correlation.use(f"call-{number}")
        failures.note("SuspendCard", "UNAUTHENTICATED", "NOT_SENT")

    latest = failures.latest(50)

    assert [each.correlation_id for each in latest[:10]] == [f"call-{number}" for number in range(999, 989, -1)]
    assert [(each.reason, each.outcome) for each in latest[10:]] == [("NOT_FOUND", "REJECTED")]
    assert failures.counts("SuspendCard") == {"UNAUTHENTICATED": 1000, "NOT_FOUND": 1}
    assert failures.counts("ResumeCard") == {}


def test_the_latest_failure_comes_first_even_if_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = Failures()
    for reason, clock in (("NOT_FOUND", 7200.0), ("DEADLINE_EXCEEDED", 3600.0), ("UNAVAILABLE", 3601.0)):
        monkeypatch.setattr(time, "time", lambda now=clock: now)
        failures.note("SuspendCard", reason)

    assert [each.reason for each in failures.latest(2)] == ["UNAVAILABLE", "DEADLINE_EXCEEDED"]


async def test_a_correlation_id_that_may_be_a_card_number_is_masked() -> None:
    failures = Failures()
    for given in ("5413330089010434", "5413-3300-8901-0434", "call 5413 3300 8901 0434", "5413330089010434a"):
        correlation.use(given)
        failures.note("SuspendCard", "NOT_FOUND")

    assert [each.correlation_id for each in failures.latest(4)][::-1] == [
        "****",
        "****",
        "call ****",
        "5413330089010434a",
    ]
