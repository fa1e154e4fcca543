"""When an instance says that it is ready."""

import asyncio

from gateway.telemetry.readiness import Readiness
from tests.fakes import FakeEventLog, FakeKeyValueStore


def readiness(log: FakeEventLog, *, timeout_seconds: float = 30.0, max_age_seconds: float = 0.0) -> Readiness:
    made = Readiness(
        log,
        FakeKeyValueStore(),
        lambda: {"d1": "open"},
        timeout_seconds=timeout_seconds,
        max_age_seconds=max_age_seconds,
    )
    made.phase = "serving"
    return made


async def test_a_gateway_whose_upstream_is_down_is_ready_and_says_what_is_down() -> None:
    report = await readiness(FakeEventLog()).report()

    assert report.is_ready
    assert report.checks == {"serving": "ok", "event_log_read": "ok", "event_log_write": "ok"}
    assert report.circuits == {"d1": "open"}


async def test_a_gateway_is_not_ready_before_and_after_it_serves() -> None:
    found = readiness(FakeEventLog())
    for phase in ("starting", "draining"):
        found.phase = phase
        report = await found.report()

        assert (report.is_ready, report.checks["serving"]) == (False, phase)


async def test_a_log_that_cannot_be_read_is_told_and_so_is_its_recovery() -> None:
    log = FakeEventLog()
    found = readiness(log)
    log.fail()
    failing = await found.report()
    log.recover()

    assert {check for check, result in failing.checks.items() if result != "ok"} == {"event_log_read"}
    assert [failing.is_ready, (await found.report()).is_ready] == [False, True]


async def test_damage_in_a_log_of_its_own_is_told_and_that_of_a_shared_log_takes_no_gateway_out_of_service() -> None:
    log = FakeEventLog()
    log.damaged_events |= {"notification 17", "notification 23"}
    report = await readiness(log).report()
    shared = Readiness(log, FakeKeyValueStore(), dict, counts_damage=False)
    shared.phase = "serving"

    assert not report.is_ready
    assert "notification 17 and 1 more" in report.checks["event_log_read"]
    assert (await shared.report()).is_ready


async def test_a_disk_that_does_not_answer_is_given_up_after_a_while() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    report = await readiness(FakeEventLog(turn=never), timeout_seconds=0.05).report()

    assert report.checks["event_log_read"] == "no response within 0.05 s"


async def test_asking_often_does_not_reach_the_disk_each_time() -> None:
    log = FakeEventLog()
    found = readiness(log, max_age_seconds=60.0)
    await asyncio.gather(*(found.report() for _ in range(20)))

    assert log.read_count == 1
    found.phase = "draining"
    assert not (await found.report()).is_ready, "the phase is never stale"


async def test_a_trail_without_which_changes_are_refused_is_told_and_counts() -> None:
    failures = ["No space left on device"]
    found = Readiness(FakeEventLog(), FakeKeyValueStore(), dict, audit_failure=lambda: "".join(failures))
    found.phase = "serving"
    failing = await found.report()
    failures.clear()

    assert (failing.is_ready, failing.checks["audit"]) == (False, "No space left on device")
    assert ((await found.report()).is_ready, (await found.report()).checks["audit"]) == (True, "ok")
