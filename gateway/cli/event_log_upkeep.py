"""Shows what is in the event log, trims it, and gives it a new epoch."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import typer

from gateway.bootstrap import event_log_upkeep as upkeep
from gateway.bootstrap import logging as logs
from gateway.bootstrap.event_log_upkeep import Trim
from gateway.cli.output import FAILED, UNUSABLE, failed, report, say, utc
from gateway.cli.progress import MEBIBYTE, display
from gateway.notifications.cursor import encode
from gateway.ports import Statistics, StoredSubscription
from gateway.settings import Settings

__all__ = ["renew_epoch", "show_statistics", "trim_log"]

_AGO: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HEADER: Final = ("ISSUER", "SUBSCRIPTION", "LAG", "COMMITTED", "CURSOR")


def show_statistics(settings: Settings, *, as_json: bool) -> None:
    """Print what is in the log.

    Raises:
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The engine failed.
    """
    logs.configure("critical")
    found = upkeep.statistics(settings)
    if as_json:
        typer.echo(orjson.dumps(_document(found)).decode())
        return
    for line in _lines(found):
        say(line)


def renew_epoch(settings: Settings) -> None:
    """Give the log a new epoch, and say what that means.

    Raises:
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The engine failed.
    """
    logs.configure("critical")
    former, present = upkeep.renew_epoch(settings)
    say(
        f"the epoch is {present}, no longer {former}: cursors that clients keep are refused (CURSOR_UNKNOWN), named "
        "subscriptions stay where they are"
    )


def trim_log(settings: Settings, before: str | None, through: str | None, *, is_dry: bool, forces: bool) -> None:
    """Remove the oldest notifications, and say so.

    Raises:
        Exit: Subscriptions need them, or the time cannot be read.
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The cursor is not of this log, or the engine failed.
    """
    if (before is None) == (through is None):
        raise failed(UNUSABLE, "--before, --through: expected exactly one of them")
    before_ms = None if before is None else _milliseconds(before)
    logs.configure("critical")
    with display("removing") as shown:
        found = upkeep.trim(
            settings,
            before_ms=before_ms,
            through=through,
            decide=lambda planned: not is_dry and (forces or not planned.needed_by),
            report=shown.show,
        )
    for each in found.needed_by if found.count else ():
        report(f"not committed by {each.name} of {each.issuer_id}, which is at {encode(found.log_id, each.committed)}")
    say(_outcome(found, is_dry=is_dry))
    if found.count and found.needed_by and not forces:
        raise failed(FAILED, "subscriptions need some of them: nothing was removed; --force removes them all the same")


def _outcome(found: Trim, *, is_dry: bool) -> str:
    if not found.count:
        return "there is nothing to remove"
    what = f"{found.count} notifications up to {encode(found.log_id, found.through)}"
    if found.is_done:
        return f"removed {what}; a file keeps its size, and uses the space again"
    return f"would remove {what}" if is_dry else f"to remove: {what}"


def _milliseconds(before: str) -> int:
    now = datetime.now(UTC)
    try:
        if match := _AGO.fullmatch(before):
            time = now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        else:
            time = datetime.fromisoformat(before)
    except (ValueError, OverflowError):
        time = None
    if time is None or time.tzinfo is None:
        raise failed(UNUSABLE, "--before: expected an age such as 12h or 30d, or a time such as 2026-11-01T00:00Z")
    return max(0, round(time.timestamp() * 1000))


def _document(found: Statistics) -> dict[str, Any]:
    return {
        "epoch": found.log_id,
        "schema": found.schema,
        "notifications": found.events,
        "size_bytes": found.size_bytes,
        "oldest_receive_time": _time(found.oldest_ms),
        "newest_receive_time": _time(found.newest_ms),
        "earliest_cursor": encode(found.log_id, found.bounds.trimmed_through),
        "last_cursor": encode(found.log_id, found.bounds.last),
        "subscriptions": [
            {
                "issuer_id": each.issuer_id,
                "name": each.name,
                "cursor": encode(found.log_id, each.committed),
                "commit_time": utc(each.commit_time_ms),
                "lag": found.bounds.lag(each.committed),
            }
            for each in found.subscriptions
        ],
        "damaged_subscriptions": found.damaged_subscriptions,
    }


def _lines(found: Statistics) -> Iterator[str]:
    schema = "" if found.schema is None else f", schema {found.schema}"
    yield f"epoch {found.log_id}{schema}"
    yield f"{found.events} notifications, {found.size_bytes / MEBIBYTE:.1f} MiB"
    if found.events:
        yield f"received from {_time(found.oldest_ms) or '?'} to {_time(found.newest_ms) or '?'}"
    yield f"last cursor {encode(found.log_id, found.bounds.last)}"
    if found.damaged_subscriptions:
        yield f"{found.damaged_subscriptions} subscriptions are damaged: d1-gateway log check"
    if found.subscriptions:
        yield from _table([_HEADER, *(_cells(found, each) for each in found.subscriptions)])
    else:
        yield "no subscriptions"


def _cells(found: Statistics, each: StoredSubscription) -> tuple[str, ...]:
    lag = str(found.bounds.lag(each.committed))
    return each.issuer_id, each.name, lag, utc(each.commit_time_ms), encode(found.log_id, each.committed)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else utc(time_ms)
