"""Failures of the storage and killed processes: acknowledged events survive, callers get an error, the log recovers."""

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from tests.integration.sqlite.sqlite_events import ISSUER, append_all, event, locked, numbers, opened, unavailable


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let every write beyond a size fail, like on a broken disk (Python ignores the signal)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_locked_database_fails_the_callers_soon_and_recovers(log: SqliteEventLog, path: Path) -> None:
    assert await log.append(event(0))
    with locked(path):
        async with asyncio.timeout(20):
            for number in (1, 2):  # The second time the connection is a new one.
                with unavailable():
                    await log.append(event(number))
            with unavailable():
                await log.commit(ISSUER, "watcher", 1, 1)
            with unavailable():
                await log.delete_subscription(ISSUER, "watcher")

    assert await log.append(event(3))
    assert await numbers(log) == [0, 3]
    assert await log.get_subscription(ISSUER, "watcher") is None


async def test_a_lock_that_is_held_for_a_moment_is_waited_for(log: SqliteEventLog, path: Path) -> None:
    async def append(number: int) -> bool:
        with locked(path):
            append = asyncio.ensure_future(log.append(event(number)))
            await asyncio.sleep(0.1)
            assert not append.done() or append.exception() is not None
        (outcome,) = await asyncio.gather(append, return_exceptions=True)
        return outcome is True

    # On a busy machine the moment may be too long.
    assert any([await append(number) for number in range(3)])


async def test_a_commit_that_cannot_be_written_is_not_acknowledged_and_the_log_recovers(path: Path) -> None:
    async with opened(path) as log:
        acknowledged = []
        with files_limited_to(300_000):
            for number in range(2_000):
                try:
                    assert await log.append(event(number, payload=bytes(1_000)))
                except GatewayError as error:
                    assert error.reason_name == "EVENT_LOG_UNAVAILABLE"  # noqa: PT017  the first of many that may fail
                    break
                acknowledged.append(number)
            assert 0 < len(acknowledged) < 1_000
            with unavailable():
                await log.append(event(2_000, payload=bytes(300_000)))
            assert await numbers(log) == acknowledged

        assert await append_all(log, [event(3_000), event(3_001)]) == [True, True]
        assert await numbers(log) == [*acknowledged, 3_000, 3_001]

    async with opened(path) as log:
        assert await numbers(log) == [*acknowledged, 3_000, 3_001]


async def test_a_batch_that_cannot_be_written_fails_as_a_whole(path: Path) -> None:
    async with opened(path) as log:
        assert await log.append(event(0))
        with files_limited_to(100_000):
            outcomes = await asyncio.gather(
                *(log.append(event(number, payload=bytes(10_000))) for number in range(1, 200)), return_exceptions=True
            )
            stored = await numbers(log)
        acknowledged = [number for number, outcome in enumerate(outcomes, 1) if outcome is True]
        assert stored == [0, *acknowledged]
        assert all(outcome is True or isinstance(outcome, GatewayError) for outcome in outcomes)
        assert len({id(outcome) for outcome in outcomes if outcome is not True}) == 199 - len(acknowledged) > 0


async def test_a_full_disk_fails_the_callers_and_the_log_recovers_when_there_is_space() -> None:
    in_own_mounts = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*in_own_mounts, "true"], check=True, capture_output=True)  # noqa: S603, ASYNC221  at once
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system of a megabyte takes the right to mount one")
    script = Path(__file__).with_name("sqlite_full_disk.py")
    child = await asyncio.create_subprocess_exec(
        *in_own_mounts, sys.executable, script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(40):
        output, errors = await child.communicate()

    assert child.returncode == 0, errors.decode()
    report = json.loads(output)
    assert report["failures"] == ["EVENT_LOG_UNAVAILABLE"] * 3
    assert "SQLITE_FULL" in report["message"]
    assert report["acknowledged_on_full_disk"] > 50
    assert report["stored"] == report["acknowledged"]


async def test_a_damaged_database_fails_the_readers(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number, payload=bytes(1_000)) for number in range(200)])
    with path.open("r+b") as file:
        middle = file.seek(0, 2) // 2
        file.seek(middle)
        file.write(bytes(10 * 4_096))

    async with opened(path) as log:
        intact = (await log.read(0, 1_000)).events
        with pytest.raises(GatewayError) as raised:
            await log.read(intact[-1].sequence, 1_000)
        assert raised.value.reason == error_pb2.ERROR_REASON_EVENT_DAMAGED
        with unavailable():
            await log.append(event(200))


async def killed_appender(path: Path, first: int, acknowledgements: int) -> list[int]:
    """Let a process append, and kill it after some acknowledgements. Returns the acknowledged events."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("sqlite_appender.py"), path, str(first), stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        printed = [await child.stdout.readline() for _ in range(acknowledgements)]
    finally:
        child.kill()
        rest = await child.stdout.read()
        await child.wait()
    # The pipe may break off within the last number.
    return [int(line) for line in (b"".join(printed) + rest).splitlines(keepends=True) if line.endswith(b"\n")]


async def test_everything_a_killed_process_acknowledged_is_there(path: Path) -> None:
    acknowledged: list[int] = []
    async with asyncio.timeout(50):
        for kill, acknowledgements in enumerate((1, 600, 37)):
            acknowledged += await killed_appender(path, kill * 1_000_000, acknowledgements)

            async with opened(path) as log:
                stored = (await log.read(0, 1_000_000)).events
                assert set(acknowledged) <= set(await numbers(log))
                assert len({each.event.operation_id for each in stored}) == len(stored)
                assert not await log.append(event(acknowledged[-1]))
    assert len(acknowledged) >= 638
