"""For each alert: series at which it fires and what it says then, and series at which it does not fire.

Values are promtool's: ``5x10`` is 5, then ten times 5 again; ``0+2x10`` grows by 2 a minute.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["CASES", "Case"]

_ONE = 'job="d1-gateway",instance="a:9464"'
_CALLBACKS = f"d1_gateway_callbacks_total{{{_ONE},kind="
_REPLIES = f"d1_gateway_callback_replies_total{{{_ONE},outcome="
_HANDLERS = f"d1_gateway_handlers_connected{{{_ONE},kind="
_EDGE = f"d1_gateway_edge_requests_total{{{_ONE},route="
_NOTIFICATIONS = '"/notifications/d1/notifications"'
_SECONDS = "d1_gateway_edge_request_duration_seconds"
_WITHIN = f'{_SECONDS}_bucket{{{_ONE},route={_NOTIFICATIONS},le="0.25",status='
_ALL = f"{_SECONDS}_count{{{_ONE},route={_NOTIFICATIONS},status="
_LAG = f"d1_gateway_event_loop_lag_seconds_bucket{{{_ONE},le="
_APPEND = f"d1_gateway_event_log_append_duration_seconds_bucket{{{_ONE},le="
_FAILURES = f'd1_gateway_rpc_failures_total{{{_ONE},rpc="Suspend",outcome="REJECTED",reason='
_REQUESTS = f'd1_gateway_upstream_requests_total{{{_ONE},upstream="d1",endpoint='
_TOKEN = '"POST /authz/v1/oauth2/token"'
_CIRCUIT = f'd1_gateway_upstream_circuit{{{_ONE},upstream="d1",issuer='
_IDEMPOTENT = f"d1_gateway_idempotent_requests_total{{{_ONE},outcome="
_SUBSCRIPTION = f'd1_gateway_subscription_lag_seconds{{{_ONE},issuer="SANDBOX001",subscription="ledger"}}'
_OLDEST = f"d1_gateway_event_log_oldest_timestamp_seconds{{{_ONE}}}"
_TRIMMED = f"d1_gateway_event_log_trimmed_sequence{{{_ONE}}}"
_EXPIRY = f'd1_gateway_certificate_expiry_timestamp_seconds{{{_ONE},setting="edge.tls_certificate_file"}}'
_LEADER = f"d1_gateway_backfill_leader{{{_ONE}}}"
_PAUSED = f"d1_gateway_backfill_paused{{{_ONE}}}"
_PENDING = f"d1_gateway_backfill_pending_cards{{{_ONE}}}"
_CARDS = f"d1_gateway_backfill_cards_total{{{_ONE},outcome="
_FREE = f"d1_gateway_event_log_free_bytes{{{_ONE}}}"
_CPU = f"process_cpu_seconds_total{{{_ONE}}}"

_GATEWAY: Mapping[str, str] = {"job": "d1-gateway", "instance": "a:9464"}
_JOB: Mapping[str, str] = {"job": "d1-gateway"}


class Case(NamedTuple):
    """An alert, and when it fires."""

    alert: str
    at: str
    """When it fires: the time since the first of the values, which come once a minute."""
    fires: Mapping[str, str]
    """Values by series."""
    labels: Mapping[str, str]
    """Labels of the alert, beyond its severity."""
    description: str
    quiet: Mapping[str, str]
    """Values by series at which it does not fire."""


def _callbacks(failed: str, answered: str) -> dict[str, str]:
    return {f'{_CALLBACKS}"deliver_otp",outcome="fallback"}}': failed} | {
        f'{_CALLBACKS}"deliver_otp",outcome="answered"}}': answered,
        # Polls count for nothing.
        f'{_CALLBACKS}"authentication_result",outcome="no_handler"}}': "0+50x600",
    }


def _intake(failed: str, stored: str) -> dict[str, str]:
    return {f'{_EDGE}{_NOTIFICATIONS},status="503"}}': failed, f'{_EDGE}{_NOTIFICATIONS},status="204"}}': stored}


def _speed(within: str, all_of_them: str) -> dict[str, str]:
    return {
        f'{_WITHIN}"204"}}': within,
        f'{_ALL}"204"}}': all_of_them,
        # What is refused is quick.
        f'{_ALL}"400"}}': "0+1000x600",
    }


_OBJECTIVES = (
    Case(
        "D1GatewayCallbacksFailFast",
        "1h",
        _callbacks("0+2x600", "0+98x600"),
        _JOB,
        "2% of the callback requests of d1-gateway got the fallback; the objective allows 0.1%.",
        # As great a share, but of four requests, of which one failed.
        _callbacks("0x30 1x600", "0x20 1x10 3x600"),
    ),
    Case(
        "D1GatewayCallbacksFailSlowly",
        "8h",
        _callbacks("0+4x600", "0+996x600"),
        _JOB,
        "0.4% of the callback requests of d1-gateway got the fallback over days; the objective allows 0.1%.",
        # It has long been over.
        _callbacks("0+1x10 10x600", "0+996x600"),
    ),
    Case(
        "D1GatewayIntakeFailsFast",
        "1h",
        _intake("0+20x600", "0+980x600"),
        _JOB,
        "2% of the notifications to d1-gateway were not acknowledged; the objective allows 0.1%.",
        _intake("0x30 3x600", "0+1000x600"),
    ),
    Case(
        "D1GatewayIntakeFailsSlowly",
        "8h",
        _intake("0+4x600", "0+996x600"),
        _JOB,
        "0.4% of the notifications to d1-gateway were not acknowledged over days; the objective allows 0.1%.",
        {f'{_EDGE}{_NOTIFICATIONS},status="204"}}': "0+100x600", f'{_EDGE}"unknown",status="500"}}': "0+100x600"},
    ),
    Case(
        "D1GatewayIntakeSlowsFast",
        "1h",
        _speed("0+80x600", "0+100x600"),
        _JOB,
        "20% of the notifications to d1-gateway took longer than 250 ms; the objective allows 1%.",
        _speed("0+100x600", "0+100x600"),
    ),
    Case(
        "D1GatewayIntakeSlowsSlowly",
        "8h",
        _speed("0+96x600", "0+100x600"),
        _JOB,
        "4% of the notifications to d1-gateway took longer than 250 ms over days; the objective allows 1%.",
        _speed("0+996x600", "0+1000x600"),
    ),
)
_PROCESSES = (
    Case(
        "D1GatewayDown",
        "5m",
        {f"up{{{_ONE}}}": "1 0x10"},
        _GATEWAY,
        "The admin port of a:9464 has not answered for 2 minutes.",
        {f"up{{{_ONE}}}": "1x10", 'up{job="other",instance="b"}': "0x10"},
    ),
    Case(
        "D1GatewayNotReady",
        "5m",
        {f'd1_gateway_readiness_check{{{_ONE},check="event_log_write"}}': "1 0x10"},
        {**_GATEWAY, "check": "event_log_write"},
        "The check event_log_write of a:9464 has failed for a minute.",
        # A drain: it is gone before the minute is over.
        {f'd1_gateway_readiness_check{{{_ONE},check="serving"}}': "1x4 0 stale"},
    ),
    Case(
        "D1GatewayRestarts",
        "20m",
        {f"process_start_time_seconds{{{_ONE}}}": "1x4 2x4 3x4 4x20"},
        _GATEWAY,
        "a:9464 has started 3 times in half an hour.",
        {f"process_start_time_seconds{{{_ONE}}}": "1x4 2x4 3x20"},
    ),
    Case(
        "D1GatewayEventLoopLags",
        "15m",
        {f'{_LAG}"0.1"}}': "0x20", f'{_LAG}"0.25"}}': "0+60x20", f'{_LAG}"+Inf"}}': "0+60x20"},
        _GATEWAY,
        "The event loop of a:9464 is 242.5ms late (p95).",
        {f'{_LAG}"0.1"}}': "0+58x20", f'{_LAG}"0.25"}}': "0+60x20", f'{_LAG}"+Inf"}}': "0+60x20"},
    ),
    Case(
        "D1GatewayCpuSaturated",
        "1h",
        {_CPU: "0+48x90"},
        _GATEWAY,
        "a:9464 has used 80% of a core for half an hour.",
        {_CPU: "0+36x90"},
    ),
    Case(
        "D1GatewayDescriptorsRunOut",
        "10m",
        {f"process_open_fds{{{_ONE}}}": "900x20", f"process_max_fds{{{_ONE}}}": "1000x20"},
        _GATEWAY,
        "a:9464 uses 90% of its file descriptors.",
        {f"process_open_fds{{{_ONE}}}": "700x20", f"process_max_fds{{{_ONE}}}": "1000x20"},
    ),
    Case(
        "D1GatewayPeersMissing",
        "5m",
        {
            'd1_gateway_peers{job="d1-gateway",instance="a:9464"}': "2 1x10",
            'd1_gateway_peers{job="d1-gateway",instance="b:9464"}': "2x10",
            'd1_gateway_peers{job="d1-gateway",instance="c:9464"}': "2x10",
        },
        _GATEWAY,
        "a:9464 hears 1 peers for 2 minutes, although Prometheus reaches more.",
        # One has left, and the other two say so.
        {
            'd1_gateway_peers{job="d1-gateway",instance="a:9464"}': "2 1x10",
            'd1_gateway_peers{job="d1-gateway",instance="b:9464"}': "2 1x10",
            'd1_gateway_peers{job="d1-gateway",instance="c:9464"}': "2 stale",
        },
    ),
    Case(
        "D1GatewayLogLinesLost",
        "10m",
        {f"d1_gateway_log_lines_lost_total{{{_ONE}}}": "0x5 8x10"},
        _GATEWAY,
        "a:9464 lost about 8 log lines in 10 minutes.",
        {f"d1_gateway_log_lines_lost_total{{{_ONE}}}": "8x20"},
    ),
    Case(
        "D1GatewayAuditUnavailable",
        "10m",
        {f"d1_gateway_audit_available{{{_ONE}}}": "1x5 0x10"},
        _GATEWAY,
        "a:9464 could not write its audit trail for 1 minute.",
        # For a moment.
        {f"d1_gateway_audit_available{{{_ONE}}}": "1x9 0 1x10"},
    ),
)
_D1 = (
    Case(
        "D1GatewayD1CallbacksRefused",
        "10m",
        {f'{_EDGE}{_NOTIFICATIONS},status="403"}}': "0+2x20"},
        {**_JOB, "route": "/notifications/d1/notifications", "status": "403"},
        "d1-gateway refused about 20 requests to /notifications/d1/notifications with 403 in 10 minutes.",
        # A handler's refusal, and a token that had expired.
        {f'{_EDGE}"/consumers/{{consumerId}}",status="403"}}': "0+9x20", f'{_EDGE}"/token",status="401"}}': "0x5 1x20"},
    ),
    Case(
        "D1GatewayD1Silent",
        "25h",
        {f'{_EDGE}{_NOTIFICATIONS},status="204"}}': "0+10x1430 14300x100"},
        _JOB,
        "d1-gateway has had no request of D1 for an hour.",
        {f'{_EDGE}{_NOTIFICATIONS},status="204"}}': "0x1430 1x100"},
    ),
    Case(
        "D1GatewayEdgeFull",
        "5m",
        {f'd1_gateway_edge_connections_refused_total{{{_ONE},reason="full"}}': "0 4x10"},
        {**_GATEWAY, "reason": "full"},
        "a:9464 turned away about 4 connections in 5 minutes (full).",
        {f'd1_gateway_edge_connections_refused_total{{{_ONE},reason="silent"}}': "0+4x10"},
    ),
    Case(
        "D1GatewayMisfits",
        "70m",
        {f'd1_gateway_upstream_misfits_total{{{_ONE},upstream="d1",message="otp",field="language"}}': "_x65 2x20"},
        {**_JOB, "upstream": "d1", "message": "otp", "field": "language"},
        "language of otp came about 2 times in an hour in another form than documented, or not at all.",
        {f'd1_gateway_upstream_misfits_total{{{_ONE},upstream="d1",message="otp",field="language"}}': "2x80"},
    ),
)
_UPSTREAMS = (
    Case(
        "D1GatewayCircuitOpen",
        "5m",
        # Now and then a request probes the upstream.
        {f'{_CIRCUIT}"SANDBOX001",state="closed"}}': "1 0x10", f'{_CIRCUIT}"SANDBOX001",state="half_open"}}': "0 1x10"},
        {**_GATEWAY, "upstream": "d1", "issuer": "SANDBOX001", "state": "closed"},
        "The circuit of d1 for SANDBOX001 at a:9464 has not been closed for 2 minutes.",
        {f'{_CIRCUIT}"",state="closed"}}': "1 0 1x10"},
    ),
    Case(
        "D1GatewayUpstreamFails",
        "20m",
        {f'{_REQUESTS}"GET /a",result="5xx"}}': "0+20x30", f'{_REQUESTS}"GET /a",result="2xx"}}': "0+80x30"},
        {**_JOB, "upstream": "d1"},
        "20% of the requests of d1-gateway to d1 fail.",
        # What D1 refuses, and what callers cancel, is no failure of D1.
        {f'{_REQUESTS}"GET /a",result="4xx"}}': "0+20x30", f'{_REQUESTS}"GET /a",result="cancelled"}}': "0+80x30"},
    ),
    Case(
        "D1GatewayUpstreamQueues",
        "10m",
        {f'd1_gateway_upstream_requests_waiting{{{_ONE},upstream="d1"}}': "0x4 3x20"},
        {**_GATEWAY, "upstream": "d1"},
        "At least 3 requests to d1 have waited at a:9464 for 5 minutes.",
        {f'd1_gateway_upstream_requests_waiting{{{_ONE},upstream="d1"}}': "9x8 0 9x10"},
    ),
    Case(
        "D1GatewayUpstreamAuthenticationFails",
        "10m",
        {f'{_FAILURES}"UPSTREAM_AUTHENTICATION"}}': "_x8 1x10"},
        {**_JOB, "rpc": "Suspend"},
        "Suspend failed about 1 times in 10 minutes, because the upstream refused our credentials.",
        {f'{_FAILURES}"UPSTREAM_NOT_FOUND"}}': "0+5x20", f'{_FAILURES}"UPSTREAM_AUTHENTICATION"}}': "3x20"},
    ),
    Case(
        "D1GatewayTokenRefused",
        "15m",
        {f'{_REQUESTS}{_TOKEN},result="4xx"}}': "3x10 5x10"},
        {**_JOB, "endpoint": "POST /authz/v1/oauth2/token"},
        "D1 refused about 2 requests for a token in 10 minutes.",
        {f'{_REQUESTS}{_TOKEN},result="2xx"}}': "0+2x20", f'{_REQUESTS}"GET /a",result="4xx"}}': "0+2x20"},
    ),
    Case(
        "D1GatewayFaults",
        "10m",
        {f'{_FAILURES}"INTERNAL"}}': "_x8 2x10"},
        {**_JOB, "rpc": "Suspend", "reason": "INTERNAL"},
        "Suspend failed about 2 times in 10 minutes with INTERNAL.",
        {f'{_FAILURES}"UPSTREAM_FAILED"}}': "0+5x20"},
    ),
)
_SERVED = {f'{_CALLBACKS}"deliver_otp",outcome="answered"}}': "0x5 1x30"}
_HANDLING = (
    Case(
        "D1GatewayNoHandler",
        "20m",
        {f'{_HANDLERS}"deliver_otp"}}': "1x5 0x30", **_SERVED},
        {**_JOB, "kind": "deliver_otp"},
        "No handler for deliver_otp has been connected to d1-gateway for a minute.",
        # Another gateway has one; D1 does not ask for card credentials; results come by CompleteAuthentication.
        {
            f'{_HANDLERS}"deliver_otp"}}': "0x30",
            'd1_gateway_handlers_connected{job="d1-gateway",instance="b:9464",kind="deliver_otp"}': "1x30",
            f'{_HANDLERS}"card_credentials"}}': "0x30",
            f'{_CALLBACKS}"card_credentials",outcome="no_handler"}}': "0x30",
            f'{_HANDLERS}"authentication_result"}}': "0x30",
            f'{_CALLBACKS}"authentication_result",outcome="no_handler"}}': "0+5x30",
            **_SERVED,
        },
    ),
    Case(
        "D1GatewayCallbacksExhausted",
        "10m",
        {f'{_CALLBACKS}"authenticate",outcome="exhausted"}}': "0x5 1x10"},
        {**_JOB, "kind": "authenticate"},
        "About 1 callback requests (authenticate) went through all the handlers that may have them in 10 minutes.",
        {f'{_CALLBACKS}"authenticate",outcome="exhausted"}}': "1x20"},
    ),
    Case(
        "D1GatewayCallbacksWithdrawn",
        "30m",
        {
            f'{_CALLBACKS}"authenticate",outcome="withdrawn"}}': "0+2x40",
            f'{_CALLBACKS}"authenticate",outcome="answered"}}': "0+98x40",
        },
        {**_JOB, "kind": "authenticate"},
        "D1 hung up before the reply to 2% of the callback requests (authenticate).",
        {f'{_CALLBACKS}"authentication_result",outcome="withdrawn"}}': "0+20x40"},
    ),
    Case(
        "D1GatewayRepliesDoNotFit",
        "10m",
        {f'{_REPLIES}"invalid"}}': "0x5 3x10"},
        {**_JOB, "outcome": "invalid"},
        "About 3 replies to d1-gateway were invalid in 10 minutes.",
        {f'{_REPLIES}"late"}}': "0+3x20", f'{_REPLIES}"invalid"}}': "3x20"},
    ),
)
_STORAGE = (
    Case(
        "D1GatewayStorageRefuses",
        "5m",
        {f'd1_gateway_event_log_appends_total{{{_ONE},outcome="failed"}}': "0 1x10"},
        _GATEWAY,
        "a:9464 could not store about 1 notifications in 5 minutes.",
        {f'd1_gateway_event_log_appends_total{{{_ONE},outcome="duplicate"}}': "0+9x10"},
    ),
    Case(
        "D1GatewayStorageSlow",
        "15m",
        {f'{_APPEND}"0.25"}}': "0x20", f'{_APPEND}"0.5"}}': "0+10x20", f'{_APPEND}"+Inf"}}': "0+10x20"},
        _GATEWAY,
        "It takes a:9464 497.5ms to store a notification (p99).",
        {f'{_APPEND}"0.25"}}': "0+10x20", f'{_APPEND}"0.5"}}': "0+10x20", f'{_APPEND}"+Inf"}}': "0+10x20"},
    ),
    Case(
        "D1GatewayDiskFull",
        "10m",
        {_FREE: "536870912x20"},
        _GATEWAY,
        "The disk of a:9464 has 512MiB left.",
        {_FREE: "2000000000x20"},
    ),
    Case(
        "D1GatewayDiskFillsUp",
        "7h",
        {_FREE: "20000000000-20000000x480"},
        _GATEWAY,
        "At the rate of the last 6 hours the disk of a:9464 is full within a day.",
        {_FREE: "20000000000-1000000x480"},
    ),
    Case(
        "D1GatewayEventLogDamaged",
        "5m",
        {f"d1_gateway_event_log_damage{{{_ONE}}}": "0 2x10"},
        _GATEWAY,
        "a:9464 found 2 damaged notifications or subscriptions.",
        {f"d1_gateway_event_log_damage{{{_ONE}}}": "0x10"},
    ),
    Case(
        "D1GatewayEpochChanged",
        "10m",
        {
            f'd1_gateway_event_log_epoch_info{{{_ONE},epoch="0a1b2c3d"}}': "1x5 stale",
            f'd1_gateway_event_log_epoch_info{{{_ONE},epoch="11111111"}}': "_x5 1x10",
        },
        _GATEWAY,
        "The event log of a:9464 has had 2 epochs in 15 minutes.",
        # Two gateways, each with a log of its own.
        {
            f'd1_gateway_event_log_epoch_info{{{_ONE},epoch="0a1b2c3d"}}': "1x20",
            'd1_gateway_event_log_epoch_info{job="d1-gateway",instance="b:9464",epoch="11111111"}': "1x20",
        },
    ),
    Case(
        "D1GatewayIdempotencyStoreFails",
        "5m",
        {f'{_IDEMPOTENT}"store_failed"}}': "0 6x10"},
        {**_JOB, "outcome": "store_failed"},
        "About 6 changes of d1-gateway ended as store_failed in 5 minutes.",
        {f'{_IDEMPOTENT}"conflict"}}': "0+2x10", f'{_IDEMPOTENT}"unknown"}}': "0+2x10"},
    ),
    Case(
        "D1GatewayDetachedOutcomeUnknown",
        "10m",
        {f'd1_gateway_detached_calls_total{{{_ONE},outcome="unknown"}}': "0x5 1x10"},
        _GATEWAY,
        "a:9464 does not know the outcome of about 1 changes whose callers had left.",
        {f'd1_gateway_detached_calls_total{{{_ONE},outcome="failed"}}': "0+3x10"},
    ),
)
_SUBSCRIBERS = (
    Case(
        "D1GatewaySubscriptionLags",
        "15m",
        {_SUBSCRIPTION: "1200x20"},
        {**_JOB, "issuer": "SANDBOX001", "subscription": "ledger"},
        "The oldest notification that ledger of SANDBOX001 has not committed is 20m 0s old.",
        {_SUBSCRIPTION: "1200x8 0 1200x20"},
    ),
    Case(
        "D1GatewaySubscriptionMissesSoon",
        "10m",
        # A minute is 60 seconds since 1970 here: what is kept begins 500 seconds before.
        {_SUBSCRIPTION: "450x20", _OLDEST: "-500+60x20", _TRIMMED: "7x20"},
        {**_JOB, "issuer": "SANDBOX001", "subscription": "ledger"},
        "The oldest notification that ledger of SANDBOX001 has not committed is 7m 30s old, more than 80% of the "
        "retention.",
        # Retention has removed nothing yet.
        {_SUBSCRIPTION: "450x20", _OLDEST: "-500+60x20", _TRIMMED: "0x20"},
    ),
)
_BACKFILL = (
    Case(
        "D1GatewayBackfillNowhere",
        "10m",
        {_LEADER: "1x3 0x20", 'd1_gateway_backfill_leader{job="d1-gateway",instance="b:9464"}': "0x20"},
        _JOB,
        "No gateway of d1-gateway has done the automatic backfills for 5 minutes.",
        # Another one has taken over.
        {_LEADER: "1x3 0x20", 'd1_gateway_backfill_leader{job="d1-gateway",instance="b:9464"}': "0x3 1x20"},
    ),
    Case(
        "D1GatewayBackfillPaused",
        "40m",
        {_PAUSED: "0x5 1x60"},
        _JOB,
        "A backfill of d1-gateway has been paused for half an hour.",
        # It went on for a while.
        {_PAUSED: "1x20 0x2 1x60"},
    ),
    Case(
        "D1GatewayBackfillCardsFail",
        "90m",
        {f'{_CARDS}"failed"}}': "0+1x120", f'{_CARDS}"done"}}': "0+9x120"},
        _JOB,
        "10% of the cards in backfills of d1-gateway failed in an hour.",
        # Three of three, which somebody asked for.
        {f'{_CARDS}"failed"}}': "0x60 3x60", f'{_CARDS}"done"}}': "0x120"},
    ),
    Case(
        "D1GatewayBackfillLate",
        "90m",
        {_PENDING: "0x10 100000x120", f'{_CARDS}"done"}}': "0+30x120"},
        _JOB,
        "At the rate of the last half hour the backfill of d1-gateway takes another 2d 7h 33m 20s.",
        # The same ten times faster; three cards elsewhere that wait for another attempt, and nothing else is read.
        {_PENDING: "0x10 100000x120", f'{_CARDS}"done"}}': "0+300x120"}
        | {
            'd1_gateway_backfill_pending_cards{job="other",instance="b:9464"}': "3x130",
            'd1_gateway_backfill_cards_total{job="other",instance="b:9464",outcome="failed"}': "3x130",
        },
    ),
)
_CERTIFICATES = (
    Case(
        "D1GatewayCertificateExpires",
        "10m",
        {_EXPIRY: "864600x20"},
        {**_JOB, "setting": "edge.tls_certificate_file"},
        "The certificate edge.tls_certificate_file of d1-gateway expires in 10d 0h 0m 0s.",
        {_EXPIRY: "1300000x20"},
    ),
    Case(
        "D1GatewayCertificateExpiresSoon",
        "10m",
        {_EXPIRY: "87000x20"},
        {**_JOB, "setting": "edge.tls_certificate_file"},
        "The certificate edge.tls_certificate_file of d1-gateway expires in 1d 0h 0m 0s.",
        {_EXPIRY: "864600x20"},
    ),
)
CASES = (*_OBJECTIVES, *_PROCESSES, *_D1, *_UPSTREAMS, *_HANDLING, *_STORAGE, *_SUBSCRIBERS, *_BACKFILL, *_CERTIFICATES)
