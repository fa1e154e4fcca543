"""``d1-gateway log copy`` as a shell runs it: what it says, and what is there after it was killed at any moment."""

import asyncio
import random
import re
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.ports import Event
from sandbox.nats import NatsServer
from tests.e2e.command import Ended, d1_gateway, ended, running
from tests.e2e.terminal import at_a_terminal
from tests.integration.event_log_copy.copy_stage import ISSUERS, Engine, Stage, fill, held, left, notifications

WAYS: list[tuple[Engine, Engine]] = [("sqlite", "nats"), ("nats", "sqlite")]
_COPIED = re.compile(
    r"copied (\d+) notifications, (\d+) already present(?:, (\d+) were too old to keep)?; "
    r"(\d+) subscriptions; \d+\.\d s, \d+ notifications/s\n"
)


def _options(source: str, target: str, settings: Path) -> Sequence[str | Path]:
    return ("log", "copy", "--from", source, "--to", target, "--config", settings)


async def _copy(source: str, target: str, settings: Path) -> Ended:
    return await d1_gateway(*_options(source, target, settings), seconds=60)


def _counts(done: Ended) -> tuple[int, ...]:
    """Copied, there already, too old, subscriptions."""
    assert done.status == 0, done.stderr
    match = _COPIED.fullmatch(done.stdout)
    assert match is not None, done.stdout
    return tuple(int(each or 0) for each in match.groups())


async def _fill(stage: Stage, engine: Engine, events: Sequence[Event]) -> None:
    async with stage.opened(engine) as storage:
        await fill(storage.log, events)
        for name, part in (("new", 0), ("some", 3), ("late", 9), ("all", 10)):
            await storage.log.commit(ISSUERS[0], name, len(events) * part // 10, 1_000)


async def _is_all_there(stage: Stage, source: Engine, target: Engine, events: Sequence[Event]) -> bool:
    async with stage.opened(source) as here, stage.opened(target) as there:
        assert await held(there.log) == events
        assert await left(there.log) == await left(here.log)
        assert await there.log.list_subscriptions() == await here.log.list_subscriptions()
    return True


async def _count(stage: Stage, engine: Engine, stack: AsyncExitStack) -> Callable[[], Awaitable[int]]:
    """Make something that counts what is in a log, whoever else has it open."""
    if engine == "nats":
        log = (await stack.enter_async_context(stage.opened("nats"))).log

        async def count() -> int:
            return (await log.bounds()).last
    else:

        async def count() -> int:
            return await asyncio.to_thread(stage.rows)

    return count


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_a_copy_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    stage: Stage, source: Engine, target: Engine
) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")  # noqa: T201  to have it again
    chance = random.Random(seed)  # noqa: S311  no secret
    events, settings = notifications(20_000, seed=seed), stage.settings_file()
    await _fill(stage, source, events)

    killed = 0
    async with AsyncExitStack() as stack:
        count = await _count(stage, target, stack)
        for place in sorted(chance.randrange(20_000) for _ in range(4)):
            async with running(*_options(source, target, settings)) as process:
                while process.returncode is None and await count() <= place:  # noqa: ASYNC110  another process's work
                    await asyncio.sleep(0.002)
                await asyncio.sleep(chance.random() * 0.02)
                if process.returncode is None:
                    process.kill()
                    killed += 1
                await process.communicate()
        before = await count()

    copied, present, _, subscriptions = _counts(await _copy(source, target, settings))
    print(f"killed {killed} times, the last one at {before}")  # noqa: T201  as above
    assert killed > 0
    assert (copied + present, subscriptions) == (20_000, 4)
    assert copied == 20_000 - before
    assert await _is_all_there(stage, source, target, events)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_when_nats_goes_down_midway_the_copy_says_so_and_the_next_one_goes_on(
    tmp_path: Path, source: Engine, target: Engine
) -> None:
    events = notifications(20_000, seed=20)
    async with await NatsServer.start(tmp_path / "nats") as server:
        stage = Stage(server, tmp_path)
        settings = stage.settings_file()
        await _fill(stage, source, events)
        async with AsyncExitStack() as stack:
            count = await _count(stage, target, stack)
            process = await stack.enter_async_context(running(*_options(source, target, settings)))
            while await count() < 1_000:
                assert process.returncode is None
                await asyncio.sleep(0.002)
            await server.kill()
            broken = await ended(process)

        assert (broken.status, broken.stdout) == (1, "")
        assert len(broken.mistakes) == 1, broken.stderr
        assert re.match(r"d1-gateway: The (event log|key-value store) is not available\. ", broken.mistakes[0])
        assert broken.mistakes[0].endswith(" Run it again: it resumes where it stopped.")

        refused = await _copy(source, target, settings)
        assert (refused.status, len(refused.mistakes)) == (2, 1)
        assert "nats: No NATS server can be used" in refused.stderr

        await server.restart()
        copied, present, _, subscriptions = _counts(await _copy(source, target, settings))
        assert (copied + present, subscriptions) == (20_000, 4)
        assert 0 < copied < 20_000
        assert await _is_all_there(stage, source, target, events)


async def test_ctrl_c_breaks_a_copy_off_and_the_next_one_goes_on(stage: Stage) -> None:
    events, settings = notifications(20_000, seed=25), stage.settings_file()
    await _fill(stage, "sqlite", events)
    async with AsyncExitStack() as stack:
        count = await _count(stage, "nats", stack)
        process = await stack.enter_async_context(running(*_options("sqlite", "nats", settings)))
        while await count() < 1_000:
            assert process.returncode is None
            await asyncio.sleep(0.002)
        process.send_signal(signal.SIGINT)
        broken = await ended(process)

    assert (broken.status, broken.stdout) == (130, "")
    assert broken.mistakes == ["d1-gateway: interrupted. Run it again: it resumes where it stopped."]
    copied, present, _, _ = _counts(await _copy("sqlite", "nats", settings))
    assert copied + present == 20_000
    assert await _is_all_there(stage, "sqlite", "nats", events)


@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_a_second_run_does_nothing(stage: Stage, source: Engine, target: Engine) -> None:
    events, settings = notifications(2_000, seed=21), stage.settings_file()
    await _fill(stage, source, events)

    assert _counts(await _copy(source, target, settings)) == (2_000, 0, 0, 4)
    assert _counts(await _copy(source, target, settings)) == (0, 2_000, 0, 4)

    assert await _is_all_there(stage, source, target, events)


async def test_an_empty_log_is_copied_in_no_time(stage: Stage) -> None:
    async with stage.opened("sqlite"):
        pass

    assert _counts(await _copy("sqlite", "nats", stage.settings_file())) == (0, 0, 0, 0)


async def test_retention_counts_for_the_file_alone_and_nothing_is_taken_out_of_the_source(stage: Stage) -> None:
    events = notifications(500, seed=22)
    old = [event._replace(receive_time_ms=event.receive_time_ms - 10_000_000) for event in events[:200]]
    settings = stage.settings_file(retention_seconds=3_600.0)
    async with stage.opened("sqlite") as here:
        await fill(here.log, [*old, *events[200:]])
        await here.log.commit(ISSUERS[0], "fraud", 100, 1_000)

    assert _counts(await _copy("sqlite", "nats", settings)) == (500, 0, 0, 1)
    assert await asyncio.to_thread(stage.rows) == 500
    stage.file.rename(stage.folder / "kept.db")
    back = await _copy("nats", "sqlite", settings)

    assert _counts(back) == (300, 0, 200, 1)
    warning = "d1-gateway: retention has removed notifications that these subscriptions have not committed"
    assert back.mistakes == [f"{warning}: fraud of {ISSUERS[0]}"]


async def test_a_target_that_has_taken_some_itself_is_told(stage: Stage) -> None:
    events = notifications(100, seed=23)
    await _fill(stage, "sqlite", events[:50])
    async with stage.opened("nats") as there:
        await fill(there.log, events[50:])

    done = await _copy("sqlite", "nats", stage.settings_file())

    assert _counts(done) == (50, 0, 0, 4)
    assert done.mistakes == [
        "d1-gateway: the target holds other notifications among these: watchers may receive some again"
    ]


async def test_the_file_of_a_gateway_that_runs_is_refused(stage: Stage) -> None:
    settings = stage.settings_file()
    for source, target in WAYS:
        async with stage.opened("sqlite"):
            done = await _copy(source, target, settings)

        assert (done.status, done.stdout) == (2, "")
        assert done.mistakes == [
            f"d1-gateway: event_log.path: The event log {stage.file} is in use by another process; stop it first."
        ]


async def test_settings_without_both_sides_are_refused(stage: Stage) -> None:
    async with stage.opened("sqlite"):
        pass
    missing = "nats: not set; a copy is between event_log.path and [nats]"
    for source, target in WAYS:
        done = await _copy(source, target, stage.settings_file(with_nats=False))
        assert (done.status, done.stdout, done.mistakes) == (2, "", [f"d1-gateway: {missing}"])

    stage.file.unlink()
    done = await _copy("sqlite", "nats", stage.settings_file())
    assert (done.status, done.mistakes) == (
        2,
        [f"d1-gateway: event_log.path: {stage.file} does not exist, so there is nothing to copy"],
    )
    assert not stage.file.exists()


async def test_a_command_line_that_makes_no_sense_is_refused(stage: Stage) -> None:
    settings = stage.settings_file()
    same = await _copy("nats", "nats", settings)
    assert (same.status, same.mistakes) == (2, ["d1-gateway: --from and --to are the same"])
    assert (await _copy("nats", "file", settings)).status == 2
    nowhere = await _copy("sqlite", "nats", stage.folder / "missing.toml")
    assert (nowhere.status, nowhere.mistakes) == (
        2,
        [f"d1-gateway: {stage.folder / 'missing.toml'}: file not found"],
    )


async def test_at_a_terminal_there_is_a_bar(stage: Stage) -> None:
    settings = stage.settings_file()
    await _fill(stage, "sqlite", notifications(10_000, seed=24))

    done = await at_a_terminal(*_options("sqlite", "nats", settings), typed=())

    assert _counts(done) == (10_000, 0, 0, 4)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr)
    assert re.search(r"copying .* 10000/10000 +[0-9,]+/s +0:00:00", shown)
