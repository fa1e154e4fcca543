"""Backs up or restores a log, killed at its first step, at its second, and so on. Reports what is there after each.

A step is whatever the interpreter audits before it is done: a file opened, renamed, linked, deleted or connected to.
"""

import asyncio
import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from adapters.sqlite import SqliteStorage, back_up, restore, verify_backup
from tests.integration.event_log_copy.copy_stage import fill, held, notifications

_STEPS = {"open", "os.rename", "os.link", "os.remove", "os.truncate", "sqlite3.connect", "shutil.copyfile"}
_FORMER = notifications(60, seed=36)
_OLD = 40


def _report(_done: int, _total: int) -> None:
    """Show nothing."""


def _back_up(log: Path, file: Path) -> None:
    back_up(log, file, version="1", key_entry="none", overwrites=True, report=_report)


def _prepare(folder: Path) -> None:
    """Make a backup of a log, and the log with more, a part of it only in its write-ahead log."""

    async def run() -> None:
        storage = await SqliteStorage.open(folder / "events.db")
        await fill(storage.log, _FORMER[:_OLD])
        _back_up(folder / "events.db", folder / "backup.db")
        await fill(storage.log, _FORMER[_OLD:])
        for suffix in ("", "-wal"):
            shutil.copy(folder / f"events.db{suffix}", folder / f"kept{suffix}")
        await storage.close()

    asyncio.run(run())


def _lay_out(folder: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"kept{suffix}", work / f"events.db{suffix}")
    shutil.copy(folder / "backup.db", work / "backup.db")


def _killed(command: str, work: Path, step: int) -> bool:
    """Run the command in a child that kills itself before a step. Returns whether it came so far."""
    child = os.fork()
    if child == 0:
        count = itertools.count(1)

        def audit(event: str, _arguments: object) -> None:
            if event in _STEPS and next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        if command == "backup":
            _back_up(work / "events.db", work / "backup.db")
        else:
            restore(work / "backup.db", work / "events.db", keeps_epoch=False, report=_report)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


async def _restored(work: Path) -> str:
    """Say which log is there, as a gateway that starts finds it."""
    storage = await SqliteStorage.open(work / "events.db")
    try:
        found = await held(storage.log)
    finally:
        await storage.close()
    if found == _FORMER:
        return "former"
    return "new" if found == _FORMER[:_OLD] else f"{len(found)} notifications"


def _backed_up(work: Path) -> str:
    backup = verify_backup(work / "backup.db", _report)
    with closing(sqlite3.connect(work / "backup.db")) as connection:
        (intact,) = connection.execute("PRAGMA integrity_check").fetchone()
    if intact != "ok":
        return str(intact)
    return {_OLD: "former", len(_FORMER): "new"}.get(backup.events, f"{backup.events} notifications")


def _again(command: str, work: Path) -> str:
    """Run the command once more. Says what is wrong then."""
    if command == "backup":
        _back_up(work / "events.db", work / "backup.db")
        found = _backed_up(work)
    else:
        restore(work / "backup.db", work / "events.db", keeps_epoch=False, report=_report)
        found = asyncio.run(_restored(work))
    left = [each.name for each in work.iterdir() if each.name.startswith(".") or each.name.endswith(".part")]
    return "" if (found, left) == ("new", []) else f"{found}, {left}"


def main(command: str, folder: Path) -> None:
    """Print the number of steps after which either file was there."""
    _prepare(folder)
    work = folder / "work"
    seen: dict[str, list[int]] = {"former": [], "new": []}
    strange: list[str] = []
    for step in itertools.count(1):
        _lay_out(folder, work)
        is_killed = _killed(command, work, step)
        found = _backed_up(work) if command == "backup" else asyncio.run(_restored(work))
        if found in seen:
            seen[found].append(step)
        else:
            strange.append(f"step {step}: {found}")
        if not is_killed:
            break
        if again := _again(command, work):
            strange.append(f"after step {step}: {again}")
    print(json.dumps({**{name: len(steps) for name, steps in seen.items()}, "strange": strange}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
