"""``d1-gateway log copy`` as a shell runs it: what it says, and what is there after it was killed at any moment."""

import asyncio
import random
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.sqlite import SqliteStorage
from gateway.bootstrap.event_log_copy import oldest_kept_ms, opened
from gateway.cli.app import app
from gateway.ports import Engine, Event
from gateway.settings import SettingsError, load
from sandbox.nats import NatsServer
from tests.e2e.command import Ended, d1_gateway, ended, running
from tests.e2e.terminal import at_a_terminal
from tests.integration.event_log_copy.copy_stage import ISSUERS, Stage, copied, fill, held, left, notifications

SQLITE, NATS = Engine.SQLITE, Engine.NATS
WAYS = pytest.mark.parametrize(("source", "target"), [(SQLITE, NATS), (NATS, SQLITE)])
_COUNT = 8_000
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


async def _refusal(source: Engine, target: Engine, settings: Path) -> Sequence[str]:
    """Return what is wrong with settings between which nothing can be copied."""
    with pytest.raises(SettingsError) as refused:
        async with opened(load(settings), source, target):
            pass
    return refused.value.mistakes


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


@asynccontextmanager
async def _counting(stage: Stage, engine: Engine) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Yield a function that counts the events of a log, which another process may have open."""
    if engine is SQLITE:
        yield partial(asyncio.to_thread, stage.rows)
        return
    async with stage.opened(NATS) as storage:

        async def count() -> int:
            return (await storage.log.bounds()).last

        yield count


async def _until_copied(process: asyncio.subprocess.Process, count: Callable[[], Awaitable[int]], place: int) -> None:
    """Wait until a copy has come beyond a place, or has ended."""
    while process.returncode is None and await count() <= place:  # noqa: ASYNC110  another process's work
        await asyncio.sleep(0.005)


@pytest.mark.timeout(240)
@WAYS
async def test_a_copy_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    stage: Stage, source: Engine, target: Engine
) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")  # noqa: T201  to have it again
    chance = random.Random(seed)  # noqa: S311  no secret
    events, settings = notifications(_COUNT, seed=seed), stage.settings_file()
    await _fill(stage, source, events)

    killed = 0
    async with _counting(stage, target) as count:
        for place in sorted(chance.randrange(_COUNT) for _ in range(3)):
            async with running(*_options(source, target, settings)) as process:
                await _until_copied(process, count, place)
                await asyncio.sleep(chance.random() * 0.02)
                if process.returncode is None:
                    process.kill()
                    killed += 1
                await process.communicate()
        before = await count()

    new, present, _, subscriptions = _counts(await _copy(source, target, settings))
    print(f"killed {killed} times, the last one at {before}")  # noqa: T201  as above
    assert killed > 0
    assert (new + present, subscriptions) == (_COUNT, 4)
    assert new == _COUNT - before
    assert await _is_all_there(stage, source, target, events)


@pytest.mark.timeout(180)
@WAYS
async def test_when_nats_goes_down_midway_the_copy_says_so_and_the_next_one_goes_on(
    tmp_path: Path, source: Engine, target: Engine
) -> None:
    events = notifications(_COUNT, seed=20)
    async with await NatsServer.start(tmp_path / "nats") as server:
        stage = Stage(server, tmp_path)
        settings = stage.settings_file()
        await _fill(stage, source, events)
        async with _counting(stage, target) as count, running(*_options(source, target, settings)) as process:
            await _until_copied(process, count, 0)
            await server.kill()
            broken = await ended(process)

        assert (broken.status, broken.stdout) == (1, "")
        assert len(broken.mistakes) == 1, broken.stderr
        assert re.match(r"d1-gateway: The (event log|key-value store) is not available\. ", broken.mistakes[0])
        assert broken.mistakes[0].endswith(" Run it again: it resumes where it stopped.")
        (mistake,) = await _refusal(source, target, settings)
        assert mistake.startswith("nats: No NATS server can be used")

        await server.restart()
        new, present, _, subscriptions = _counts(await _copy(source, target, settings))
        assert (new + present, subscriptions) == (_COUNT, 4)
        assert 0 < new < _COUNT
        assert await _is_all_there(stage, source, target, events)


async def test_ctrl_c_breaks_a_copy_off_and_the_next_one_goes_on(stage: Stage) -> None:
    events, settings = notifications(_COUNT, seed=25), stage.settings_file()
    await _fill(stage, SQLITE, events)
    async with _counting(stage, NATS) as count, running(*_options(SQLITE, NATS, settings)) as process:
        await _until_copied(process, count, 0)
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        broken = await ended(process)

    assert (broken.status, broken.stdout) == (130, "")
    assert broken.mistakes == ["d1-gateway: interrupted. Run it again: it resumes where it stopped."]
    new, present, _, _ = _counts(await _copy(SQLITE, NATS, settings))
    assert new + present == _COUNT
    assert await _is_all_there(stage, SQLITE, NATS, events)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_restore_into_nats_that_is_ended_leaves_nothing_unpacked_and_the_next_one_goes_on(
    stage: Stage, number: signal.Signals
) -> None:
    await _fill(stage, SQLITE, notifications(_COUNT, seed=26))
    backup, unpacked = stage.folder / "backup", stage.folder / "unpacked"
    unpacked.mkdir()
    made = await d1_gateway("log", "backup", backup, "--config", stage.settings_file(with_nats=False))
    assert made.status == 0, made.stderr
    command = ("log", "restore", backup, "--config", stage.settings_file())
    environment = {"TMPDIR": str(unpacked)}
    async with _counting(stage, NATS) as count, running(*command, environment=environment) as process:
        await _until_copied(process, count, 0)
        assert [*unpacked.iterdir()] != []
        process.send_signal(number)
        broken = await ended(process)

    assert (broken.status, broken.stderr) == (128 + number, "d1-gateway: interrupted\n")
    assert [*unpacked.iterdir()] == []
    done = await d1_gateway(*command, environment=environment, seconds=60)
    assert f"restored {_COUNT} notifications" in done.stdout, done.stderr


async def test_retention_counts_for_the_file_alone(stage: Stage) -> None:
    events = notifications(500, seed=22)
    old = [event._replace(receive_time_ms=event.receive_time_ms - 10_000_000) for event in events[:200]]
    settings = stage.settings_file(retention_seconds=3_600.0)
    async with stage.opened(NATS) as here:
        await fill(here.log, [*old, *events[200:]])
        await here.log.commit(ISSUERS[0], "fraud", 100, 1_000)

    done = await _copy(NATS, SQLITE, settings)

    assert _counts(done) == (300, 0, 200, 1)
    warning = "d1-gateway: retention has removed notifications that these subscriptions have not committed"
    assert done.mistakes == [f"{warning}: fraud of {ISSUERS[0]}"]


async def test_what_is_too_old_is_copied_into_nats_and_not_taken_out_of_the_source(stage: Stage) -> None:
    old = [event._replace(receive_time_ms=number + 1) for number, event in enumerate(notifications(20, seed=22))]
    settings = load(stage.settings_file(retention_seconds=3_600.0))
    async with stage.opened(SQLITE) as here:
        await fill(here.log, old)

    async with opened(settings, SQLITE, NATS) as (source, target):
        await copied(source, target, keep_from_ms=oldest_kept_ms(settings, NATS, time.time_ns() // 1_000_000))

        assert await held(target.log) == old
        assert isinstance(source, SqliteStorage)
        assert await source.log.trim() == 0


async def test_a_target_that_has_taken_some_itself_is_reported(stage: Stage) -> None:
    events = notifications(100, seed=23)
    await _fill(stage, SQLITE, events[:50])
    async with stage.opened(NATS) as there:
        await fill(there.log, events[50:])

    done = await _copy(SQLITE, NATS, stage.settings_file())

    assert _counts(done) == (50, 0, 0, 4)
    assert done.mistakes == [
        "d1-gateway: the target holds other notifications among these: watchers may receive some again"
    ]


@WAYS
async def test_the_file_of_a_gateway_that_runs_is_refused(stage: Stage, source: Engine, target: Engine) -> None:
    async with stage.opened(SQLITE):
        assert await _refusal(source, target, stage.settings_file()) == [
            f"event_log.path: The event log {stage.file} is in use by another process; stop it first."
        ]


async def test_settings_without_both_sides_are_refused(stage: Stage) -> None:
    async with stage.opened(SQLITE):
        pass
    missing = ["nats: not set; a copy is between event_log.path and [nats]"]
    for source, target in ((SQLITE, NATS), (NATS, SQLITE)):
        assert await _refusal(source, target, stage.settings_file(with_nats=False)) == missing

    stage.file.unlink()
    done = await _copy(SQLITE, NATS, stage.settings_file())

    gone = f"d1-gateway: event_log.path: {stage.file} does not exist"
    assert (done.status, done.stdout, done.mistakes) == (2, "", [gone])
    assert not stage.file.exists()


@pytest.mark.parametrize(
    ("source", "target", "mistake"),
    [
        ("nats", "nats", "d1-gateway: --from and --to are the same\n"),
        ("nats", "file", "Invalid value for '--to'"),
        ("sqlite", "nats", "d1-gateway: missing.toml: file not found\n"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(source: str, target: str, mistake: str) -> None:
    done = CliRunner().invoke(app, [str(each) for each in _options(source, target, Path("missing.toml"))])

    assert (done.exit_code, done.stdout) == (2, "")
    assert mistake in done.stderr


async def test_at_a_terminal_there_is_a_bar(stage: Stage) -> None:
    settings = stage.settings_file()
    await _fill(stage, SQLITE, notifications(2_000, seed=24))

    done = await at_a_terminal(*_options(SQLITE, NATS, settings), typed=())

    assert _counts(done) == (2_000, 0, 0, 4)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr)
    assert re.search(r"copying .* 2000/2000 +[0-9,]+/s +0:00:00", shown)
