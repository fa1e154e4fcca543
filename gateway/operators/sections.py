"""The sections of the page, each made of one part of the snapshot."""

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.callbacks.model import ConnectedHandler
from gateway.operators import backfill, wording
from gateway.operators.charts import chart
from gateway.operators.markup import Content, Element, element, table
from gateway.operators.snapshot import Callbacks, Calls, LogFacts, Snapshot, Subscription
from gateway.telemetry.failures import Failure
from gateway.telemetry.readiness import OK

__all__ = ["sections"]

_MAX_LISTED: Final = 25
_STATES: Final = {"closed": "good", "half_open": "warn", "open": "bad"}


def sections(now: Snapshot) -> Iterable[Element]:
    """Yield the sections, those first that tell most in a bad hour."""
    yield _charts(now)
    yield _failures(now)
    yield _callbacks(now)
    yield _handlers(now)
    yield _subscriptions(now)
    yield _event_log(now)
    yield _backfill(now)
    yield _circuits(now)
    yield _readiness(now)
    yield _certificates(now)
    if now.membership is not None:
        yield _peers(now)
    yield _calls(now)


def _section(name: str, title: str, *contents: Content, class_: str = "") -> Element:
    heading = element("h2", title, id=f"{name}-title")
    classes = f"card {class_}".strip()
    return element("section", heading, *contents, id=name, class_=classes, aria_labelledby=f"{name}-title")


def _empty(text: str) -> Element:
    return element("p", text, class_="empty")


def _state(text: str, level: str) -> Element:
    return element("span", text, class_=f"state {level}")


def _number(number: float, class_: str = "") -> Element:
    return element("td", wording.count(number), class_=f"number {class_}".strip(), data_moves=True)


def _facts(pairs: Iterable[tuple[str, Content]]) -> Element:
    return element(
        "dl", [element("div", element("dt", name), element("dd", value, data_moves=True)) for name, value in pairs]
    )


def _charts(now: Snapshot) -> Element:
    named = (
        ("calls", "Calls", "succeeded", "failed"),
        ("callbacks", "Callback requests", "answered", "fell back"),
        ("notifications", "Notifications", "stored", "not stored"),
        ("upstreams", "Requests to upstreams", "answered", "failed"),
    )
    return _section(
        "last-hour",
        "Last hour",
        element(
            "div",
            [chart(name, now.minutes[name], title=title, well=well, badly=badly) for name, title, well, badly in named],
            class_="charts",
        ),
        class_="wide",
    )


def _failures(now: Snapshot) -> Element:
    def row(failure: Failure) -> Element:
        return element(
            "tr",
            element("td", wording.moment(failure.time, now.time), class_="when"),
            element("td", _short(failure.operation)),
            element("td", element("span", failure.reason, class_="reason"), _outcome(failure.outcome)),
            element("td", element("code", failure.correlation_id or "none")),
        )

    shown: Element
    if now.failures:
        headings = ("When", "What", "Why", "Correlation id")
        shown = table(headings, map(row, now.failures), label="Recent failures", class_="stacked")
    else:
        shown = _empty("Nothing has failed since the start.")
    return _section("failures", "Recent failures", shown, class_="wide")


def _outcome(outcome: str) -> Content:
    return f" · {wording.words(outcome)}" if outcome else None


def _callbacks(now: Snapshot) -> Element:
    def row(each: Callbacks) -> Element:
        answered = sum(each.outcomes.get(outcome, 0) for outcome in ("answered", "refused"))
        fell_back = sum(each.outcomes.get(outcome, 0) for outcome in ("fallback", "no_handler", "exhausted"))
        return element(
            "tr",
            element("th", wording.words(each.kind), scope="row"),
            _number(each.handler_count),
            _number(each.open_count),
            _number(answered),
            _number(fell_back, "some" if each.unanswered_count else ""),
            _number(each.outcomes.get("withdrawn", 0)),
        )

    headings = ("Kind", "#Handlers", "#Open", "#Answered", "#Fell back", "#Withdrawn")
    rows = map(row, now.callbacks)
    return _section(
        "callbacks", "Callbacks since the start", table(headings, rows, label="Callbacks by kind", class_="stacked")
    )


def _handlers(now: Snapshot) -> Element:
    if not now.handlers:
        hint = "No handler is connected here. The platform gets the fallback unless one connects in time"
        more = " or a peer has one." if now.membership is not None else "."
        return _section("handlers", "Handlers", _empty(hint + more))
    rows = map(_handler, now.handlers[:_MAX_LISTED])
    shown = table(("Name", "Kinds", "#Busy"), rows, label="Connected handlers", class_="stacked")
    return _section("handlers", "Handlers", shown, _rest(len(now.handlers), _MAX_LISTED))


def _handler(handler: ConnectedHandler) -> Element:
    session = handler.session
    state = "drains" if session.is_draining else "slow" if session.is_slow else ""
    kinds = sorted({wording.words(kind) for _, kind in session.topics})
    return element(
        "tr",
        element("th", handler.name, element("span", state, class_="state warn") if state else None, scope="row"),
        element("td", ", ".join(kinds)),
        element("td", f"{len(session.held)} of {session.max_in_flight}", class_="number", data_moves=True),
    )


def _subscriptions(now: Snapshot) -> Element:
    title = "Subscriptions"
    if not isinstance(now.log, LogFacts):
        return _section("subscriptions", title, _empty("Not known while the event log cannot be read."))
    if not now.log.subscriptions:
        return _section("subscriptions", title, _empty("There is no named subscription."))

    def row(each: Subscription) -> Element:
        return element(
            "tr",
            element("th", each.name, element("span", each.issuer_id, class_="issuer"), scope="row"),
            element("td", _watcher(each, is_clustered=now.membership is not None)),
            element("td", wording.moment(each.commit_time, now.time), class_="when"),
            _number(each.lag, "some" if each.lag and not each.is_active else ""),
        )

    shown = table(
        ("Name", "Watcher", "Committed", "#Lag"), map(row, now.log.subscriptions), label=title, class_="stacked"
    )
    return _section("subscriptions", title, shown, _rest(now.log.subscription_count, len(now.log.subscriptions)))


def _watcher(each: Subscription, *, is_clustered: bool) -> Sequence[str | Element]:
    if not each.watcher_count:
        return [_state("nobody", "idle")]
    if not each.is_active:
        return [_state(f"none of {each.watcher_count} active", "bad")]
    where = "active" if not is_clustered else "active here" if each.is_active_here else "active at a peer"
    standby = each.watcher_count - 1
    return [_state(where, "good"), f" + {standby} standing by" if standby else ""]


def _event_log(now: Snapshot) -> Element:
    damage = element("ul", [element("li", each) for each in now.damage[:_MAX_LISTED]], class_="damage")
    found = (element("p", _state("damaged", "bad")), damage) if now.damage else None
    if not isinstance(now.log, LogFacts):
        return _section(
            "event-log", "Event log", element("p", _state("unreadable", "bad")), element("p", now.log), found
        )
    bounds, growth = now.log.bounds, now.growth
    oldest: Content = "none"
    if now.log.oldest_time is not None:
        oldest = wording.moment(now.log.oldest_time, now.time)
    elif bounds.last > bounds.trimmed_through:
        oldest = "not readable"
    grows = "measured after a minute"
    if growth is not None:
        grows = f"{wording.count(growth.notifications_per_hour)} notifications, {wording.bytes_(growth.bytes_per_hour)}"
    return _section(
        "event-log",
        "Event log",
        found,
        _facts(
            [
                ("Notifications", wording.count(bounds.last - bounds.trimmed_through)),
                ("On disk", wording.bytes_(now.log.size_bytes)),
                ("Oldest", oldest),
                ("Growth per hour", grows),
                ("Newest sequence", wording.count(bounds.last)),
            ]
        ),
    )


def _backfill(now: Snapshot) -> Element:
    cards = chart("backfill", now.minutes["backfill"], title="Cards", well="read", badly="failed")
    recovered = chart("recovered", now.minutes["recovered"], title="Notifications", well="recovered")
    return _section(
        "backfill",
        "Backfill",
        backfill.shown(now.backfill, now.time),
        element("div", cards, recovered, class_="charts pair"),
        class_="wide",
    )


def _circuits(now: Snapshot) -> Element:
    states = [
        (upstream, _state(wording.words(state), _STATES.get(state, "bad")))
        for upstream, state in sorted(now.report.circuits.items())
    ]
    return _section(
        "circuits", "Circuits", _facts(states) if states else _empty("No upstream was called yet."), class_="third"
    )


def _readiness(now: Snapshot) -> Element:
    checks: list[tuple[str, Content]] = [
        (wording.words(check).capitalize(), _state(result, "good" if result == OK else "bad"))
        for check, result in now.report.checks.items()
    ]
    lost = _state(wording.count(now.lost_line_count), "bad" if now.lost_line_count else "idle")
    return _section("readiness", "Readiness", _facts([*checks, ("Log lines lost", lost)]), class_="third")


def _certificates(now: Snapshot) -> Element:
    def row(setting: str, expiry: float) -> Element:
        level = "bad" if expiry <= now.time else "warn" if setting in now.ending_certificates else ""
        when = wording.moment(expiry, now.time)
        shown = element("span", when, class_=f"state {level}") if level else when
        return element("tr", element("th", setting, scope="row"), element("td", shown, class_="number"))

    expiries = sorted(now.certificate_expiries.items(), key=lambda pair: pair[1])
    rows = [row(setting, expiry) for setting, expiry in expiries]
    shown = table(("Setting", "#Expires"), rows, label="Certificates in use by expiry")
    return _section(
        "certificates", "Certificates", shown if rows else _empty("No certificate is in use."), class_="third"
    )


def _peers(now: Snapshot) -> Element:
    membership = now.membership
    peers = {} if membership is None else membership.peers
    own = "" if membership is None else membership.gateway_id
    rows = [
        element("tr", element("th", element("code", gateway), scope="row"), _number(handlers))
        for gateway, handlers in sorted(peers.items())
    ]
    shown = (
        table(("Gateway", "#Handlers"), rows, label="Peers of this gateway") if rows else _empty("No peer is present.")
    )
    return _section("peers", "Peers", element("p", "This gateway is ", element("code", own), "."), shown, class_="wide")


def _calls(now: Snapshot) -> Element:
    if not now.calls:
        return _section("calls", "Calls since the start", _empty("No call has ended since the start."), class_="wide")

    def row(each: Calls) -> Element:
        reasons = [
            element("li", element("span", reason, class_="reason"), f" {wording.count(number)}")
            for reason, number in each.reasons.items()
        ]
        return element(
            "tr",
            element("th", _short(each.rpc), scope="row"),
            _number(each.count),
            _number(each.failed_count, "some" if each.failed_count else ""),
            element("td", element("ul", reasons, class_="reasons") if reasons else None),
        )

    shown = table(("Rpc", "#Ended", "#Failed", "Reasons"), map(row, now.calls), label="Calls by rpc", class_="stacked")
    return _section("calls", "Calls since the start", shown, class_="wide")


def _short(operation: str) -> Element:
    """Shorten an rpc to its own name, and show the rest in the title; a route breaks at its slashes."""
    package, _, name = operation.rpartition("/")
    if package and not operation.startswith("/"):
        return element("span", name, title=operation)
    if operation.startswith("/"):
        return element("span", operation, class_="route")
    return element("span", wording.words(operation), title=operation)


def _rest(count: int, shown: int) -> Element | None:
    return element("p", f"and {wording.count(count - shown)} more", class_="empty") if count > shown else None
