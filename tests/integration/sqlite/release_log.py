"""A log as a release leaves it, kept as SQL: what later versions have to open.

Run this module with the release's own code, once for each schema:
``python -m tests.integration.sqlite.release_log > tests/integration/sqlite/schema_7.sql``.
"""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from adapters.sqlite import SqliteStorage
from adapters.sqlite.subscriptions import store
from gateway.ports import Event, StoredSubscription
from tests.integration.sqlite.sqlite_events import ISSUER, event

__all__ = ["EVENTS", "KEPT_FROM", "LOG_ID", "SKIPPED", "SUBSCRIPTIONS", "load", "schemas"]

_FOLDER = Path(__file__).parent
LOG_ID = "0a1b2c3d"
KEPT_FROM = 4
"""The first sequence that was not trimmed."""
SKIPPED = 9
"""The sequence of a notification that is damaged, and skipped."""
EVENTS: list[Event] = [
    *(event(number, time_ms=1_000 + number, payload=b"payload %d" % number) for number in range(8)),
    *(event(number, kind=2, subject_id="consumer-1")._replace(state="MÜDE") for number in range(8, 12)),
]
"""In the order of their sequences, from 1."""
SUBSCRIPTIONS = [
    StoredSubscription(ISSUER, "fraud", 6, 1_500, fencing_token=70, stale_through=60),
    StoredSubscription("ISSUER0002", "risk", 12, 2_500),
]


def schemas() -> list[int]:
    """Return the schemas of which there is a log."""
    return sorted(int(each.stem.removeprefix("schema_")) for each in _FOLDER.glob("schema_*.sql"))


def load(path: Path, schema: int) -> None:
    """Make the file of a log."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript((_FOLDER / f"schema_{schema}.sql").read_text())
        database.execute("PRAGMA journal_mode = WAL")


async def _fill(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    try:
        for each in EVENTS:
            await storage.log.append(each)
        await storage.trim_through(KEPT_FROM - 1)
        await storage.key_value_store.put("record", b"sealed", 1e9)
    finally:
        await storage.close()


def main() -> None:
    """Print the SQL."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events.db")
        asyncio.run(_fill(path))
        with closing(sqlite3.connect(path)) as database:
            for each in SUBSCRIPTIONS:
                store(database, each)
            database.execute("UPDATE event SET payload = x'00' WHERE sequence = ?", (SKIPPED,))
            database.execute("INSERT INTO skipped_event VALUES (?)", (SKIPPED,))
            database.execute("UPDATE meta SET log_id = ?, fence = 70", (LOG_ID,))
            database.execute("UPDATE entry SET expire_time_ms = 9000000000000")
            database.commit()
            for pragma in ("application_id", "user_version"):
                (value,) = database.execute(f"PRAGMA {pragma}").fetchone()
                print(f"PRAGMA {pragma} = {value};")  # noqa: T201  its output
            print("\n".join(database.iterdump()))  # noqa: T201  as above


if __name__ == "__main__":
    main()
