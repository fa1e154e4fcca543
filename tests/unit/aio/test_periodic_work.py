import asyncio

from structlog.testing import capture_logs

from gateway.aio.clock import every


async def test_work_that_fails_is_logged_and_done_again() -> None:
    runs = 0
    was_done_again = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ZeroDivisionError
        was_done_again.set()

    with capture_logs() as logged:
        async with asyncio.timeout(10), every(0.001, work):
            await was_done_again.wait()

    assert [(each["event"], each["log_level"]) for each in logged] == [("periodic_task_failed", "error")]
