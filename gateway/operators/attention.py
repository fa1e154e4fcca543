"""What needs somebody's attention, the worst first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.operators import backfill, wording
from gateway.operators.snapshot import LogFacts, Snapshot
from gateway.telemetry.readiness import OK

__all__ = ["Finding", "findings"]

_RECENT_MINUTES: Final = 10
_FAILING_SHARE: Final = 0.1
"""The share of requests to upstreams from which on failures are more than noise, although no circuit is open."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs attention."""

    level: Literal["bad", "warn"]
    text: str
    section: str
    """The id of the section that says more."""


def findings(now: Snapshot) -> Sequence[Finding]:
    """Return what needs attention."""
    found = [
        *_readiness(now),
        *_circuits(now),
        *_upstreams(now),
        *_log(now),
        *_callbacks(now),
        *_backfill(now),
        *_certificates(now),
        *_logs(now),
    ]
    return sorted(found, key=lambda each: each.level != "bad")


def _readiness(now: Snapshot) -> Iterator[Finding]:
    for check, result in now.report.checks.items():
        if result != OK:
            what = "" if check == "serving" else f"{wording.words(check)}: "
            yield Finding("bad", f"Not ready: {what}{result}", "readiness")


def _circuits(now: Snapshot) -> Iterator[Finding]:
    for upstream, state in now.report.circuits.items():
        if state == "open":
            yield Finding("bad", f"The circuit of {upstream} is open: calls that need it fail at once", "circuits")
        elif state != "closed":
            yield Finding("warn", f"The circuit of {upstream} is half open: one request probes it", "circuits")


def _upstreams(now: Snapshot) -> Iterator[Finding]:
    well, badly = _recent(now, "upstreams")
    if badly and badly >= _FAILING_SHARE * (well + badly):
        text = f"{wording.count(badly)} of {wording.count(well + badly)} requests to upstreams failed"
        yield Finding("warn", f"{text} in the last {_RECENT_MINUTES} min", "last-hour")


def _log(now: Snapshot) -> Iterator[Finding]:
    if now.damage:
        more = f" and {len(now.damage) - 1} more" if len(now.damage) > 1 else ""
        yield Finding("bad", f"The event log is damaged: {now.damage[0]}{more}", "event-log")
    failed = _lately(now, "notifications")
    if failed:
        yield Finding("bad", f"{failed} in the last {_RECENT_MINUTES} min could not be stored", "event-log")
    if isinstance(now.log, LogFacts):
        for each in now.log.subscriptions:
            if each.watcher_count and not each.is_active:
                yield Finding("warn", f"None of the watchers of {each.name} is active", "subscriptions")
        if left := now.log.unwatched:
            more = f", nor {wording.count(left.count - 1)} more that lag" if left.count > 1 else ""
            text = f"Nobody watches {left.name}, which lags by {wording.count(left.lag)}{more}"
            yield Finding("warn", text, "subscriptions")
    else:
        yield Finding("bad", f"The event log cannot be read: {now.log}", "event-log")


def _callbacks(now: Snapshot) -> Iterator[Finding]:
    if failed := _lately(now, "callbacks"):
        unserved = [
            wording.words(each.kind) for each in now.callbacks if each.unanswered_count and _is_unserved(now, each.kind)
        ]
        whom = f"; no handler for {', '.join(unserved)}" if unserved else ""
        yield Finding("warn", f"{failed} in the last {_RECENT_MINUTES} min got the fallback{whom}", "callbacks")


def _is_unserved(now: Snapshot, kind: str) -> bool:
    has_peers = now.membership is not None and any(now.membership.peers.values())
    return not has_peers and not any(each.handler_count for each in now.callbacks if each.kind == kind)


def _backfill(now: Snapshot) -> Iterator[Finding]:
    for text in backfill.warnings(now.backfill, now.time):
        yield Finding("warn", text, "backfill")
    if failed := round(_recent(now, "backfill")[1]):
        cards = "1 card" if failed == 1 else f"{wording.count(failed)} cards"
        yield Finding("warn", f"The history of {cards} could not be read in the last {_RECENT_MINUTES} min", "backfill")


def _certificates(now: Snapshot) -> Iterator[Finding]:
    for setting, expiry in sorted(now.certificate_expiries.items(), key=lambda pair: pair[1]):
        left = expiry - now.time
        if left <= 0:
            yield Finding("bad", f"The certificate {setting} expired {wording.duration(-left)} ago", "certificates")
        elif setting in now.ending_certificates:
            yield Finding("warn", f"The certificate {setting} expires in {wording.duration(left)}", "certificates")


def _logs(now: Snapshot) -> Iterator[Finding]:
    if now.lost_line_count:
        yield Finding("warn", f"{wording.count(now.lost_line_count)} log lines were lost since the start", "readiness")


def _lately(now: Snapshot, chart: str) -> str:
    """Return how many of what a chart counts went badly in the last minutes, with its name; empty if none did."""
    number = round(_recent(now, chart)[1])
    if not number:
        return ""
    return f"{wording.count(number)} {chart.removesuffix('s') if number == 1 else chart}"


def _recent(now: Snapshot, chart: str) -> tuple[float, float]:
    """Return how much of what a chart counts went well in the last minutes, and how much did not."""
    known = [minute for minute in now.minutes[chart][-_RECENT_MINUTES:] if minute is not None]
    return sum(well for well, _ in known), sum(badly for _, badly in known)
