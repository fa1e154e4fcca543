"""A file and a NATS server to copy between, as the settings of one gateway name them."""

import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import replace
from pathlib import Path

from adapters.nats import NatsStorage
from adapters.sqlite import back_up
from gateway.notifications.copy import Copied, EventLogCopy
from gateway.ports import Engine, Event, EventLog, Storage
from gateway.settings import EventLogSettings
from sandbox.common.pki import make_pki
from sandbox.gateway import GatewayConfig, SharedStorage, write_policy
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import NatsEngine, SqliteEngine, StorageEngine

__all__ = [
    "ISSUERS",
    "Stage",
    "content_of",
    "copied",
    "fill",
    "held",
    "ignore",
    "left",
    "make_backup",
    "notifications",
    "upgrade",
]

ISSUERS = ("SANDBOX001", "SANDBOX002")


class Stage:
    """Both storages, with names that no other test uses."""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.file = folder / "d1-gateway.db"
        self._file_engine, self._nats_engine = SqliteEngine(folder), NatsEngine(server)

    def opened(
        self, engine: Engine, *, retention: EventLogSettings | None = None
    ) -> AbstractAsyncContextManager[Storage]:
        """Have one of them open, as a gateway has it."""
        used: StorageEngine = self._file_engine if engine is Engine.SQLITE else self._nats_engine
        return used.opened(retention=retention)

    def nats_storage(self) -> AbstractAsyncContextManager[NatsStorage]:
        """Have the one at NATS open, with its connection."""
        return self._nats_engine.opened()

    def settings_file(self, *, with_nats: bool = True, retention_seconds: float = 86_400.0) -> Path:
        """Write the settings of a gateway that keeps what it keeps in either of them."""
        pki = make_pki(self.folder / "keys")
        policy = write_policy(self.folder / "policy.toml")
        config = GatewayConfig(
            ISSUERS[0], pki, "https://127.0.0.1:9", self.file, policy, retention_seconds=retention_seconds
        )
        if with_nats:
            config = replace(
                config,
                shared=SharedStorage.make([self.server.url], self.folder),
                more={
                    "nats": {"prefix": self._nats_engine.prefix, "request_timeout_seconds": 5.0},
                    # The server sets it aside for each of the session's streams.
                    "event_log": {"retention_bytes": 256 * 1_048_576},
                },
            )
        file = self.folder / "d1-gateway.toml"
        file.write_text(config.to_toml())
        return file

    def rows(self) -> int:
        """Return the last sequence in the file, which another process may have open."""
        if not self.file.exists():
            return 0
        try:
            with closing(sqlite3.connect(f"{self.file.as_uri()}?mode=ro", uri=True)) as connection:
                count: int = connection.execute("SELECT coalesce(max(sequence), 0) FROM event").fetchone()[0]
        except sqlite3.OperationalError:  # It is just being made.
            return 0
        return count


def notifications(count: int, *, seed: int = 0, first: int = 0, end_ms: int | None = None) -> list[Event]:
    """Make notifications of many cards, some ms apart, the last one now, and some of them a little out of order."""
    chance = random.Random(seed)  # noqa: S311  no secret
    end_ms = time.time_ns() // 1_000_000 if end_ms is None else end_ms
    made = []
    for number in range(first, first + count):
        kind, owner = chance.choice((1, 1, 1, 2)), chance.randrange(2000)
        made.append(
            Event(
                issuer_id=chance.choice(ISSUERS),
                kind=kind,
                subject_id=f"card-{owner}" if kind == 1 else f"consumer-{owner}",
                operation_id=f"operation {number}",
                consumer_id=chance.choice(("", f"consumer-{owner}")),
                operation_type=chance.randrange(5),
                status=chance.randrange(3),
                receive_time_ms=end_ms - 10 * (first + count - number) + chance.randrange(-40, 40),
                payload=chance.randbytes(chance.randrange(600)),
            )
        )
    return made


async def fill(log: EventLog, events: Sequence[Event]) -> None:
    """Store notifications in order."""
    for start in range(0, len(events), 1000):
        await log.append_in_order(events[start : start + 1000])


async def held(log: EventLog, after: int = 0) -> list[Event]:
    """Read all that is behind a place."""
    found: list[Event] = []
    while (read := await log.read(after, 1000)).events:
        found += [stored.event for stored in read.events]
        after = read.through
    return found


async def left(log: EventLog) -> dict[tuple[str, str], list[Event]]:
    """Read what each subscription gets next."""
    return {(each.issuer_id, each.name): await held(log, each.committed) for each in await log.list_subscriptions()}


async def copied(source: Storage, target: Storage, *, keep_from_ms: int | None = None) -> Copied:
    """Copy to the end."""
    return await EventLogCopy(source, target, keep_from_ms=keep_from_ms, report=lambda _: None).run()


def ignore(_done: int, _total: int) -> None:
    """Show no progress."""


def make_backup(log: Path, file: Path, *, overwrites: bool = False) -> None:
    """Back up a file, as ``log backup`` does."""
    back_up(log, file, version="1", key_entry="none", overwrites=overwrites, report=ignore)


def content_of(file: Path) -> bytes:
    """Return a file's content; empty if there is none."""
    return file.read_bytes() if file.exists() else b""


def upgrade(file: Path) -> None:
    """Let a log be of a newer version."""
    with closing(sqlite3.connect(file)) as log:
        log.execute("PRAGMA user_version = 8")
