"""An event log that already holds many notifications, as the edge would have stored them one by one."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import orjson

from adapters.d1.callbacks.fields import Fields
from adapters.d1.callbacks.operations import parse_operation
from adapters.sqlite.database import connect_writer, open_database
from adapters.sqlite.events import Appender
from bench.clients.traffic import Notifications
from bench.clients.watching import MARK
from gateway.ports import Event, EventKind
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.sandbox import ISSUER_ID

__all__ = ["Filled", "fill"]

_CARDS: Final = 100_000
_AT_ONCE: Final = 100_000
_OPERATION_ID: Final = "op_" + "?" * 32
_CARD_ID: Final = "card_" + "?" * 8
# A benchmark's log need not survive a power cut, and a large cache avoids writing changed pages twice.
_IN_A_HURRY: Final = ("PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000")


@dataclass(frozen=True, slots=True)
class Filled:
    """A filled event log."""

    log_id: str
    last: int
    """The sequence number of its last notification; there are no gaps."""


def fill(path: Path, count: int) -> Filled:
    """Add notifications to an event log, created if missing, up to a total count. Blocks.

    Each is another operation on one of 100,000 cards, in random order of operation ids, as in reality.
    """
    database = open_database(path)
    with closing(database), closing(connect_writer(database)) as connection:
        for pragma in _IN_A_HURRY:
            connection.execute(pragma)
        appender = Appender(connection)
        events = _events(count - appender.last)
        while some := list(islice(events, _AT_ONCE)):
            connection.execute("BEGIN IMMEDIATE")
            appender.append(some)
            connection.execute("COMMIT")
        # The next process to open it must not wait for the disk.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Filled(database.log_id, appender.last)


def _events(count: int) -> Iterator[Event]:
    form = _form()
    # In the order of the fields.
    before, _, rest = form.payload.partition(_CARD_ID.encode())
    between, _, behind = rest.partition(_OPERATION_ID.encode())
    time_ms = time.time_ns() // 1_000_000 - count
    some = Random()  # noqa: S311 (not for security)
    for place in range(count):
        # Same length as the placeholders, so the message stays valid.
        card_id, operation_id = f"card_{some.randrange(_CARDS):08}", f"op_{some.getrandbits(128):032x}"
        yield form._replace(
            subject_id=card_id,
            operation_id=operation_id,
            receive_time_ms=time_ms + place,
            payload=b"".join((before, card_id.encode(), between, operation_id.encode(), behind)),
        )


def _form() -> Event:
    """Return a notification as the edge makes it, with placeholders for its ids."""
    _, _, body = Notifications(ISSUER_ID).request().partition(b"\r\n\r\n")
    stored = notification.Notification(
        issuer_id=ISSUER_ID, correlation_id=f"{MARK.decode()}{time.monotonic_ns():019}", card_id=_CARD_ID
    )
    stored.receive_time.GetCurrentTime()
    operation = stored.three_ds_operation
    parse_operation(Fields({**orjson.loads(body), "operationId": "op"}), operation)
    operation.operation_id = _OPERATION_ID
    stored.consumer_id = operation.consumer_id
    return Event(
        issuer_id=ISSUER_ID,
        kind=EventKind.THREE_DS_OPERATION,
        subject_id=_CARD_ID,
        operation_id=_OPERATION_ID,
        consumer_id=stored.consumer_id,
        operation_type=operation.type,
        status=operation.status,
        receive_time_ms=0,
        payload=stored.SerializeToString(),
    )
