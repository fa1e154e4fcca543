"""``d1-gateway log stat``, ``log trim`` and ``log new-epoch`` as a shell runs them."""

import json
import re
from pathlib import Path

import pytest

from gateway.bootstrap import logging
from gateway.cli.output import utc
from gateway.errors import GatewayError
from gateway.notifications import cursor
from gateway.ports import Engine, LogBounds
from tests.e2e.command import GATEWAY, Ended, d1_gateway, invoked
from tests.integration.event_log_copy.copy_stage import ISSUERS, Stage, fill, held, notifications

SQLITE, NATS = Engine.SQLITE, Engine.NATS
ENGINES = pytest.mark.parametrize("engine", list(Engine))
_END_MS = 1_800_000_000_000
"""2027-01-15T08:00:00Z."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that runs in this process would change what later tests log.
    monkeypatch.setattr(logging, "configure", lambda _: None)


async def _run(stage: Stage, engine: Engine, *arguments: str | Path) -> Ended:
    command = ("log", *arguments, "--config", stage.settings_file(with_nats=engine is NATS))
    return await invoked(GATEWAY, *command) if engine is SQLITE else await d1_gateway(*command, seconds=60)


@ENGINES
async def test_what_is_in_the_log_is_told_beside_a_gateway(stage: Stage, engine: Engine) -> None:
    events = notifications(100, seed=51, end_ms=_END_MS)
    async with stage.opened(engine) as storage:
        empty = await _run(stage, engine, "stat")
        await fill(storage.log, events)
        await storage.log.commit(ISSUERS[0], "fraud", 40, 1_000)
        told = json.loads((await _run(stage, engine, "stat", "--json")).stdout)
        epoch = storage.log.log_id
        lines = (await _run(stage, engine, "stat")).stdout.splitlines()

    assert empty.stdout.splitlines()[-2:] == [f"last cursor {epoch}-0", "no subscriptions"]
    assert told.pop("size_bytes") > 10_000
    assert told == {
        "epoch": epoch,
        "schema": 7 if engine is SQLITE else None,
        "notifications": 100,
        "oldest_receive_time": utc(events[0].receive_time_ms),
        "newest_receive_time": utc(events[-1].receive_time_ms),
        "earliest_cursor": f"{epoch}-0",
        "last_cursor": f"{epoch}-100",
        "subscriptions": [
            {
                "issuer_id": ISSUERS[0],
                "name": "fraud",
                "cursor": f"{epoch}-40",
                "commit_time": "1970-01-01T00:00:01Z",
                "lag": 60,
            }
        ],
        "damaged_subscriptions": 0,
    }
    assert lines[-2].split() == ["ISSUER", "SUBSCRIPTION", "LAG", "COMMITTED", "CURSOR"]
    assert lines[-1].split() == [ISSUERS[0], "fraud", "60", "1970-01-01T00:00:01Z", f"{epoch}-40"]


@ENGINES
async def test_what_no_subscription_needs_is_trimmed_and_the_rest_with_force_alone(
    stage: Stage, engine: Engine
) -> None:
    events = notifications(100, seed=52, end_ms=_END_MS)
    async with stage.opened(engine) as storage:
        await fill(storage.log, events)
        await storage.log.commit(ISSUERS[0], "fraud", 40, 1_000)
        epoch = storage.log.log_id

    dry = await _run(stage, engine, "trim", "--through", f"{epoch}-40", "--dry-run")
    done = await _run(stage, engine, "trim", "--through", f"{epoch}-40")
    again = await _run(stage, engine, "trim", "--through", f"{epoch}-40")
    needed = await _run(stage, engine, "trim", "--through", f"{epoch}-70")
    forced = await _run(stage, engine, "trim", "--through", f"{epoch}-70", "--force")

    assert (dry.status, dry.stdout) == (0, f"would remove 40 notifications up to {epoch}-40\n")
    assert (done.status, done.stdout.partition(";")[0]) == (0, f"removed 40 notifications up to {epoch}-40")
    assert (again.status, again.stdout) == (0, "there is nothing to remove\n")
    assert (needed.status, needed.stdout) == (1, f"to remove: 30 notifications up to {epoch}-70\n")
    assert needed.mistakes == [
        f"d1-gateway: not committed by fraud of {ISSUERS[0]}, which is at {epoch}-40",
        "d1-gateway: subscriptions need some of them: nothing was removed; --force removes them all the same",
    ]
    assert forced.status == 0
    async with stage.opened(engine) as storage:
        assert await storage.log.bounds() == LogBounds(70, 100)
        assert await held(storage.log, 70) == events[70:]
        damage = await storage.find_damage()
        assert (list(damage.events), list(damage.others)) == ([], [])
        assert await storage.log.append(events[0])  # What is gone is forgotten.


async def test_what_is_older_than_a_time_is_trimmed(stage: Stage) -> None:
    events = [each._replace(receive_time_ms=_END_MS + place) for place, each in enumerate(notifications(100, seed=53))]
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, events)

    all_are_newer = await _run(stage, SQLITE, "trim", "--before", "100d")
    done = await _run(stage, SQLITE, "trim", "--before", "2027-01-15T08:00:00.030Z")

    assert (all_are_newer.status, all_are_newer.stdout) == (0, "there is nothing to remove\n")
    assert done.stdout.startswith("removed 30 notifications")
    async with stage.opened(SQLITE) as storage:
        assert await storage.log.bounds() == LogBounds(30, 100)


async def test_a_trim_that_makes_no_sense_or_is_beside_a_gateway_is_refused(stage: Stage) -> None:
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, notifications(3))
        used = await _run(stage, SQLITE, "trim", "--before", "1d")
    neither = await _run(stage, SQLITE, "trim")
    without_zone = await _run(stage, SQLITE, "trim", "--before", "2026-11-01")
    another = await _run(stage, SQLITE, "trim", "--through", "ffffffff-3")

    assert "in use by another process" in used.only_line(2)
    assert neither.only_line(2) == "--before, --through: expected exactly one of them"
    assert "expected an age such as 12h or 30d, or a time such as 2026-11-01T00:00Z" in without_zone.only_line(2)
    assert "The cursor ffffffff-3 is not from this event log" in another.only_line(1)


@ENGINES
async def test_after_a_new_epoch_old_cursors_are_refused_and_subscriptions_stay(stage: Stage, engine: Engine) -> None:
    async with stage.opened(engine) as storage:
        await fill(storage.log, notifications(10))
        await storage.log.commit(ISSUERS[0], "fraud", 4, 1_000)
        before, subscriptions = storage.log.log_id, await storage.log.list_subscriptions()

    done = await _run(stage, engine, "new-epoch")

    found = re.match(r"the epoch is ([0-9a-f]{8}), no longer ([0-9a-f]{8}): ", done.stdout)
    assert (done.status, done.stderr) == (0, "")
    assert found is not None
    async with stage.opened(engine) as storage:
        assert found.groups() == (storage.log.log_id, before)
        assert await storage.log.list_subscriptions() == subscriptions
        with pytest.raises(GatewayError, match="is not from this event log"):
            cursor.parse(f"{before}-4", storage.log.log_id, await storage.log.bounds())


async def test_gateways_at_nats_adopt_a_new_epoch_while_they_run(stage: Stage) -> None:
    async with stage.opened(NATS) as storage, stage.opened(NATS) as peer:
        await fill(storage.log, notifications(10))
        await storage.log.commit(ISSUERS[0], "fraud", 4, 1_000)
        renewed = await storage.renew_epoch()

        while peer.log.log_id != renewed:
            await peer.log.bounds()
        assert (await peer.log.list_subscriptions())[0].committed == 4
        assert await peer.log.append(notifications(1, seed=54, first=10)[0])


async def test_no_command_makes_an_event_log_at_nats(stage: Stage) -> None:
    done = await _run(stage, NATS, "backup", stage.folder / "backup.db")

    assert "There is no event log at NATS under the prefix test-" in done.only_line(2)
    assert not (stage.folder / "backup.db").exists()
