"""The page, made of one snapshot."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from gateway.backfill.state import BackfillPhase, BackfillState, BackfillView, Cause, IssuerBackfill, IssuerPause
from gateway.callbacks.model import ConnectedHandler, RelayCounts
from gateway.operators.attention import findings
from gateway.operators.document import render
from gateway.operators.history import MINUTES
from gateway.operators.snapshot import Snapshot
from gateway.operators.wording import bytes_, duration, moment
from gateway.telemetry.readiness import Report
from issuer.common.v1 import error_pb2
from tools.operators_page_sample import sample

_HOSTILE = "\"'><img src=x onerror=alert(1)></td><script>alert(2)</script>&lt;\x00\ud800"


class _Read(HTMLParser):
    """The tags of a page with the names of their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


class _Membership:
    def __init__(self, gateway_id: str, peers: dict[str, int]) -> None:
        self.gateway_id, self.peers, self.relay_counts = gateway_id, peers, RelayCounts()


def _with_texts(value: Any, text: str) -> Any:
    """Return a snapshot, or part of one, whose every free text ends with another one."""
    changed = value
    match value:
        case str():
            changed = value + text
        case ConnectedHandler():
            changed = ConnectedHandler(value.name + text, value.session)
        case dict() if value.keys() != sample().minutes.keys():
            changed = {_with_texts(key, text): _with_texts(each, text) for key, each in value.items()}
        case list():
            changed = [_with_texts(each, text) for each in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            parts = {each.name: _with_texts(getattr(value, each.name), text) for each in fields(value)}
            changed = replace(value, **parts)
    return changed


def _text(now: Snapshot) -> str:
    return " ".join(_Read(render(now)).text.split())


def test_no_text_becomes_markup_wherever_it_stands() -> None:
    peers = {"0123456789abcdef": 2}
    now = replace(sample(), damage=["notification 3"], membership=_Membership("fedcba9876543210", peers))
    harmless, hostile = (_with_texts(now, text) for text in ("-x", _HOSTILE))

    assert _Read(render(hostile)).tags == _Read(render(harmless)).tags
    assert _Read(render(hostile)).text.count("<img src=x onerror=alert(1)>") >= 40
    assert b"onerror" not in render(harmless)


def test_a_gateway_without_anything_says_so() -> None:
    empty = replace(
        sample(),
        log=replace(sample().log, subscriptions=(), subscription_count=0, oldest_time=None, unwatched=None),  # type: ignore[type-var]
        report=Report({"serving": "ok"}, {}),
        growth=None,
        handlers=(),
        calls=(),
        failures=(),
        certificate_expiries={},
        ending_certificates=(),
        minutes={chart: [None] * MINUTES for chart in sample().minutes},
        backfill=BackfillView(BackfillState(is_leader=True)),
    )

    told = _text(empty)

    for text in (
        "Nothing needs attention",
        "Nothing has failed since the start.",
        "No handler is connected here.",
        "There is no named subscription.",
        "measured after a minute",
        "No upstream was called yet.",
        "No certificate is in use.",
        "No call has ended since the start.",
        "this gateway does it . Nothing waits.",
    ):
        assert text in told


def test_the_worst_comes_first() -> None:
    now = replace(
        sample(),
        report=Report({"serving": "ok", "event_log_write": "disk full"}, {"d1": "open", "threeds": "half_open"}),
        damage=["notification 3", "notification 4"],
    )

    told = _text(now)

    assert told.startswith("Not ready · gateway-1 · d1-gateway")
    places = [
        told.index(text)
        for text in (
            "Not ready: event log write: disk full",
            "The circuit of d1 is open",
            "The event log is damaged: notification 3 and 1 more",
            "The circuit of threeds is half open",
            "Nobody watches fraud-scoring, which lags by 1,204",
            "The certificate edge.tls_certificate_file expires in 19 d",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("well", "badly", "told"),
    [
        (81, 9, "9 of 90 requests to upstreams failed in the last 10 min"),
        (82, 9, None),
        (0, 0, None),
    ],
)
def test_an_upstream_that_fails_often_needs_attention_although_its_circuit_is_closed(
    well: float, badly: float, told: str | None
) -> None:
    minutes = [*[None] * (MINUTES - 10), (well, badly), *[(0.0, 0.0)] * 9]
    now = replace(sample(), minutes={**sample().minutes, "upstreams": minutes})

    assert [each.text for each in findings(now) if "upstreams" in each.text] == ([told] if told else [])


def test_an_event_log_that_cannot_be_read_is_told_with_what_it_found_damaged() -> None:
    told = _text(replace(sample(), log="The event log is not available.", damage=["structure"]))

    assert "The event log cannot be read: The event log is not available." in told
    assert "Event log unreadable The event log is not available. damaged structure" in told
    assert "Not known while the event log cannot be read." in told


def test_a_gateway_of_a_cluster_names_its_peers_and_where_the_active_watcher_is() -> None:
    log = sample().log
    assert not isinstance(log, str)
    away = replace(log.subscriptions[1], is_active_here=False)
    alone = replace(log.subscriptions[2], is_active=False, is_active_here=False)
    log = replace(log, subscriptions=[away, alone])

    told = _text(replace(sample(), log=log, membership=_Membership("fedcba9876543210", {"0123456789abcdef": 2})))

    assert "This gateway is fedcba9876543210 . Gateway Handlers 0123456789abcdef 2" in told
    assert "ledger BANK000001 active at a peer + 1 standing by" in told
    assert "app-push BANK000001 none of 1 active" in told
    assert "None of the watchers of app-push is active" in told


def _backfill(view: BackfillView | None) -> str:
    return _text(replace(sample(), backfill=view)).partition(" Backfill ")[2].partition(" Circuits ")[0]


def test_a_backfill_tells_how_far_it_is_how_fast_and_what_waits() -> None:
    told = _backfill(sample().backfill)

    assert "BANK000001 running for 16 min outage; operations since 52 min ago 5,012 of 18,400" in told
    assert " 5,012 of 18,400 296 45 min 361 1 1 gap, 2 cards" in told
    assert " read 1 failed" in told
    assert " recovered" in told


def test_a_rate_counts_from_where_this_gateway_took_over_and_is_left_out_at_first() -> None:
    now = sample().time

    def told(seconds_ago: float) -> str:
        run = IssuerBackfill(
            BackfillPhase.RUNNING,
            started_ms=round((now - seconds_ago) * 1000),
            cards_total=900,
            cards_done=500,
            cards_done_before=440,
        )
        return _backfill(BackfillView(BackfillState(is_leader=True, issuers={"BANK000001": run})))

    assert "500 of 900 60 6 min 40 s" in told(60)
    assert "500 of 900 0 0" in told(9)


def test_a_pause_tells_its_reason_and_its_end() -> None:
    pause = IssuerPause(error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, round((sample().time + 90) * 1000))
    waits = IssuerBackfill(BackfillPhase.PAUSED, pause, causes=[Cause.SWEEP, Cause.OUTAGE], since_ms=1)
    issuers = {"BANK000001": waits, "BANK000002": IssuerBackfill(), "BANK000003": waits}
    now = replace(sample(), backfill=BackfillView(BackfillState(is_leader=True, issuers=issuers)))

    assert "paused : upstream rate limited; tries again in 1 min 30 s sweep, outage; operations since" in _text(now)
    assert "The backfill of BANK000001 and 1 more is paused for another 1 min 30 s: upstream rate limited" in _text(now)


@pytest.mark.parametrize(
    ("view", "told", "warns"),
    [
        (BackfillView(BackfillState(is_enabled=False)), "off : nothing is fetched by itself.", False),
        (BackfillView(BackfillState()), "no gateway does it at the moment.", True),
        (BackfillView(BackfillState(), is_at_peer=True), "a peer does it : its page says more.", False),
        (
            BackfillView(BackfillState(issuers={"BANK000001": IssuerBackfill(pending_gaps=2)}), is_at_peer=True),
            "a peer does it : its page says more. Issuer State Why Cards A minute Time left Recovered Failed",
            False,
        ),
        (None, "Not known while the storage cannot be read.", False),
    ],
)
def test_who_does_the_backfill_is_told(view: BackfillView | None, told: str, *, warns: bool) -> None:
    assert _backfill(view).startswith(told)
    found = [each.text for each in findings(replace(sample(), backfill=view)) if each.section == "backfill"]
    assert ("No gateway does the backfills at the moment" in found) == warns


def test_cards_that_failed_lately_need_attention() -> None:
    minutes = [*[(9.0, 7.0)] * (MINUTES - 10), (8.0, 1.0), *[(9.0, 0.0)] * 8, (3.0, 1.0)]
    now = replace(sample(), minutes={**sample().minutes, "backfill": minutes})

    told = [each.text for each in findings(now) if each.section == "backfill"]
    assert told == ["The history of 2 cards could not be read in the last 10 min"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (131, "2 min 11 s"),
        (7_300, "2 h 1 min"),
        (700_000, "8 d 2 h"),
        (4e7, "1 y 97 d"),
    ],
)
def test_a_duration_has_no_more_than_two_units(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (-52_000_000, "−52 MB"), (3e15, "3000 TB")],  # noqa: RUF001
)
def test_a_size_has_the_unit_that_fits(size: float, text: str) -> None:
    assert bytes_(size).replace("\N{NO-BREAK SPACE}", " ") == text


def test_a_time_is_relative_and_has_the_absolute_one_beside_it() -> None:
    made = moment(1_800_000_000.0, 1_800_000_090.0)

    assert " ".join((made.text or "").split()) == "1 min 30 s ago"
    assert made.get("title") == "2027-01-15 08:00:00 UTC"
    assert moment(float("inf"), 0.0).tag == "span"
