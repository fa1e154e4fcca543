"""An invented gateway, for pictures and tests of the operators' page."""

import math
from typing import Final, cast

from gateway.backfill.state import BackfillPhase, BackfillState, BackfillView, Cause, IssuerBackfill
from gateway.callbacks.model import ConnectedHandler, Handler, HandlerSession, PendingCallback
from gateway.operators import snapshot
from gateway.operators.history import MINUTES, Growth, Minute
from gateway.ports import LogBounds
from gateway.telemetry.failures import Failure
from gateway.telemetry.readiness import Report

__all__ = ["sample"]

_NOW: Final = 1_796_035_280.0
_ISSUER: Final = "BANK000001"
_QUIET: Final = [(0.0, 0.0)] * 43
"""The minutes before the backfill began."""


def sample() -> snapshot.Snapshot:
    """Return a gateway on an ordinary day, with two things to look at."""
    return snapshot.Snapshot(
        time=_NOW,
        instance=snapshot.Instance("0.1.0", "3.11.7", "gateway-1", 2417, _NOW - 266_000),
        report=Report(
            {"serving": "ok", "event_log_read": "ok", "event_log_write": "ok"}, {"d1": "closed", "threeds": "half_open"}
        ),
        log=_log(),
        damage=(),
        growth=Growth(8_412.0, 5_310_000.0),
        handlers=[
            _handler("otp-service", ("deliver_otp",), 3),
            _handler("otp-service", ("deliver_otp",), 2),
            _handler("banking-app", ("authenticate", "authentication_result"), 5),
            _handler("core-banking", ("consumer_information", "card_credentials"), 0),
        ],
        callbacks=_callbacks(),
        calls=_calls(),
        failures=_failures(),
        certificate_expiries={
            "edge.tls_certificate_file": _NOW + 19.4 * 86_400,
            "grpc.tls_certificate_file": _NOW + 71.2 * 86_400,
            "d1.tls_certificate_file": _NOW + 204 * 86_400,
            "edge.tls_client_ca_file": _NOW + 1_460 * 86_400,
        },
        ending_certificates=["edge.tls_certificate_file"],
        lost_line_count=0,
        minutes={
            "calls": _minutes(210, 50, {41: 3, 42: 2, 57: 1}),
            "callbacks": _minutes(64, 19, {41: 2}),
            "notifications": _minutes(140, 37, {}),
            "upstreams": _minutes(198, 46, {41: 9, 42: 6}),
            "backfill": [*_QUIET, *_minutes(295, 3, {48: 1})[len(_QUIET) :]],
            "recovered": [*_QUIET, *_minutes(21, 9, {})[len(_QUIET) :]],
        },
        backfill=_backfill(),
        membership=None,
    )


def _log() -> snapshot.LogFacts:
    return snapshot.LogFacts(
        LogBounds(1_204_311, 2_617_730),
        1_048_000_000,
        _NOW - 604_000,
        [
            snapshot.Subscription(
                _ISSUER, "fraud-scoring", 1_204, _NOW - 410, 0, is_active_here=False, is_active=False
            ),
            snapshot.Subscription(_ISSUER, "ledger", 2, _NOW - 0.4, 2, is_active_here=True, is_active=True),
            snapshot.Subscription(_ISSUER, "app-push", 0, _NOW - 2.1, 1, is_active_here=True, is_active=True),
        ],
        3,
        snapshot.Unwatched("fraud-scoring", 1_204, 1),
    )


def _backfill() -> BackfillView:
    running = IssuerBackfill(
        phase=BackfillPhase.RUNNING,
        causes=(Cause.OUTAGE,),
        since_ms=round((_NOW - 3_120) * 1000),
        started_ms=round((_NOW - 1_016) * 1000),
        cards_total=18_400,
        cards_done=5_012,
        recovered_count=361,
        failed_count=1,
        pending_gaps=1,
        pending_cards=2,
    )
    return BackfillView(BackfillState(is_leader=True, issuers={_ISSUER: running}))


def _handler(name: str, kinds: tuple[str, ...], held: int) -> ConnectedHandler:
    session = HandlerSession(cast("Handler", None), frozenset((_ISSUER, kind) for kind in kinds), 16)
    session.held = dict.fromkeys(map(str, range(held)), cast("PendingCallback", None))
    return ConnectedHandler(name, session)


def _callbacks() -> list[snapshot.Callbacks]:
    return [
        snapshot.Callbacks("consumer_information", 1, {"answered": 41_208, "withdrawn": 3}, 0, 0),
        snapshot.Callbacks("deliver_otp", 2, {"answered": 30_415, "refused": 12, "fallback": 2}, 5, 2),
        snapshot.Callbacks("authenticate", 1, {"answered": 9_377}, 3, 0),
        snapshot.Callbacks("authentication_result", 1, {"answered": 9_301, "no_handler": 70}, 2, 0),
        snapshot.Callbacks("card_credentials", 1, {"answered": 118}, 0, 0),
    ]


def _calls() -> list[snapshot.Calls]:
    return [
        snapshot.Calls(
            "issuer.card.v1.CardService/SuspendCard", 10_233, 5, {"UPSTREAM_UNAVAILABLE": 3, "UPSTREAM_NOT_FOUND": 2}
        ),
        snapshot.Calls("issuer.card.v1.CardService/RegisterCard", 48_120, 1, {"UPSTREAM_CONFLICT": 1}),
        snapshot.Calls("issuer.notification.v1.NotificationService/CommitCursor", 803_551, 0, {}),
        snapshot.Calls("issuer.threeds.v1.AuthenticationService/Authenticate", 91_204, 0, {}),
        snapshot.Calls("issuer.notification.v1.NotificationService/WatchNotifications", 12, 0, {}),
    ]


def _failures() -> list[Failure]:
    suspend = "issuer.card.v1.CardService/SuspendCard"
    return [
        Failure(_NOW - 131, suspend, "UPSTREAM_NOT_FOUND", "REJECTED", "9f2b6c1e5a7d4f0e8b3c2a1d6e5f4a3b"),
        Failure(_NOW - 1_090, "deliver_otp", "FALLBACK", "", "d1-7c0a51e2-90f4"),
        Failure(_NOW - 1_102, suspend, "UPSTREAM_UNAVAILABLE", "UNKNOWN", "0c4e8a2f6b1d49738e5a7c3b9d1f2e60"),
        Failure(_NOW - 1_104, suspend, "UPSTREAM_UNAVAILABLE", "NOT_SENT", "e7d35b90a1c24f6d8b0e9a7c5d3f1b28"),
        Failure(
            _NOW - 7_300,
            "issuer.card.v1.CardService/RegisterCard",
            "UPSTREAM_CONFLICT",
            "REJECTED",
            "batch-2026-11-30-0044",
        ),
    ]


def _minutes(middle: float, swing: float, badly: dict[int, float]) -> list[Minute]:
    waves = (
        math.sin(place / 7) + 0.45 * math.sin(place * 2.1) + 0.3 * math.sin(place * 5.3) for place in range(MINUTES)
    )
    return [(float(round(middle + swing * wave)), badly.get(place, 0.0)) for place, wave in enumerate(waves)]
