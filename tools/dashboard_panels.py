"""The panels of the Grafana dashboard: tools/dashboard.py lays them out."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["ROWS", "Panel"]


class Panel(NamedTuple):
    """A panel of the dashboard."""

    title: str
    meaning: str
    unit: str
    queries: Mapping[str, str]
    """PromQL by legend, without the dashboard's own selection of job and instance."""
    kind: str = "timeseries"
    width: int = 8
    thresholds: Sequence[tuple[str, float | None]] = ()
    """Colours, each with the value from which on it applies."""


def _quantile(share: float, metric: str, selected: str, *by: str) -> str:
    buckets = f"{metric}_seconds_bucket{{{selected}}}"
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) (rate({buckets}[$__rate_interval])))"


def _rate(metric: str, selected: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{{{selected}}}[$__rate_interval]))"


def _share(good: str, of: str) -> str:
    return f"sum(increase({good}[$__range])) / sum(increase({of}[$__range]))"


_ASKED: Final = 'kind!="authentication_result"'
_INTAKE: Final = 'route=~".+/notifications"'
_AT_LEAST_999: Final = (("red", None), ("green", 0.999))

ROWS: Final[Mapping[str, Sequence[Panel]]] = {
    "Objectives": (
        Panel(
            "Callback requests answered",
            "Share that a handler answered or refused, in the time shown. Objective: 99.9 %.",
            "percentunit",
            {
                "answered": _share(
                    f'd1_gateway_callbacks_total{{{_ASKED},outcome=~"answered|refused"}}',
                    f'd1_gateway_callbacks_total{{{_ASKED},outcome!="withdrawn"}}',
                )
            },
            "stat",
            4,
            _AT_LEAST_999,
        ),
        Panel(
            "Notifications acknowledged",
            "Share of D1's notifications that did not end in an error of ours, in the time shown. Objective: 99.9 %.",
            "percentunit",
            {
                "acknowledged": _share(
                    f'd1_gateway_edge_requests_total{{{_INTAKE},status!~"5..|none"}}',
                    f"d1_gateway_edge_requests_total{{{_INTAKE}}}",
                )
            },
            "stat",
            4,
            _AT_LEAST_999,
        ),
        Panel(
            "Notifications within 250 ms",
            "Share of the acknowledged ones, in the time shown. Objective: 99 %.",
            "percentunit",
            {
                "in time": _share(
                    f'd1_gateway_edge_request_duration_seconds_bucket{{{_INTAKE},status="204",le="0.25"}}',
                    f'd1_gateway_edge_request_duration_seconds_count{{{_INTAKE},status="204"}}',
                )
            },
            "stat",
            4,
            (("red", None), ("green", 0.99)),
        ),
        Panel(
            "Burn rates over an hour",
            "How many times faster than allowed the error budgets are spent; at 14.4 somebody is woken.",
            "short",
            {
                "callback requests": "job:d1_gateway_callbacks_failed:ratio_rate1h / 0.001",
                "intake": "job:d1_gateway_intake_failed:ratio_rate1h / 0.001",
                "intake latency": "job:d1_gateway_intake_slow:ratio_rate1h / 0.01",
            },
            width=6,
            thresholds=(("green", None), ("red", 14.4)),
        ),
        Panel(
            "Alerts",
            "What fires now. docs/runbook.md has an entry for each.",
            "short",
            {"": 'ALERTS{alertname=~"D1Gateway.*",alertstate="firing"}'},
            "table",
            6,
        ),
    ),
    "gRPC calls": (
        Panel("Calls", "Ended calls.", "reqps", {"{{rpc}}": _rate("d1_gateway_rpcs_total", "", "rpc")}),
        Panel(
            "Failures by reason",
            "The reasons that callers get. Not every one is a fault: a card may be unknown.",
            "reqps",
            {"{{reason}} {{outcome}}": _rate("d1_gateway_rpc_failures_total", "", "reason", "outcome")},
        ),
        Panel(
            "Latency, p99",
            "Without streams.",
            "s",
            {"{{rpc}}": _quantile(0.99, "d1_gateway_rpc_duration", "", "rpc")},
        ),
        Panel(
            "In flight, and streams",
            "Calls in flight, and open streams of watchers and handlers.",
            "short",
            {
                "in flight": "sum(d1_gateway_rpcs_in_flight)",
                "{{rpc}}": "sum by (rpc) (d1_gateway_streams_open)",
            },
        ),
        Panel(
            "Changes with a request_id",
            "What became of them: the first call, a replay, a conflict, or a failing store.",
            "reqps",
            {"{{outcome}}": _rate("d1_gateway_idempotent_requests_total", "", "outcome")},
        ),
        Panel(
            "Changes whose callers had left",
            "Unknown: they may have taken effect, and nobody knows.",
            "short",
            {"{{outcome}}": "sum by (outcome) (increase(d1_gateway_detached_calls_total[$__rate_interval]))"},
        ),
    ),
    "D1 and the 3-D Secure server": (
        Panel(
            "Requests by result",
            "The class of the status, or why there was no response.",
            "reqps",
            {
                "{{upstream}} {{result}}": _rate("d1_gateway_upstream_requests_total", "", "upstream", "result"),
                "{{upstream}} retries": _rate("d1_gateway_upstream_retries_total", "", "upstream"),
            },
        ),
        Panel(
            "Latency, p99",
            "From the request to its response.",
            "s",
            {"{{endpoint}}": _quantile(0.99, "d1_gateway_upstream_request_duration", "", "upstream", "endpoint")},
        ),
        Panel(
            "Circuits that are not closed",
            "1: open or half open; calls fail at once.",
            "short",
            {
                "{{upstream}} {{issuer}} {{state}} {{instance}}": (
                    'max by (upstream, issuer, state, instance) (d1_gateway_upstream_circuit{state!="closed"})'
                )
            },
        ),
        Panel(
            "Connections in use, and admission queue",
            "Requests in flight, and those that wait for a connection.",
            "short",
            {
                "{{upstream}} in flight": "sum by (upstream) (d1_gateway_upstream_requests_in_flight)",
                "{{upstream}} waiting": "sum by (upstream) (d1_gateway_upstream_requests_waiting)",
            },
        ),
        Panel(
            "Misfits",
            "Fields that D1 sent in another form than it documents, or left out.",
            "short",
            {
                "{{message}} {{field}}": (
                    "sum by (message, field) (increase(d1_gateway_upstream_misfits_total[$__rate_interval]))"
                )
            },
        ),
    ),
    "Callbacks": (
        Panel(
            "Callback requests by outcome",
            "How they ended. A poll for a result without a handler is usual.",
            "reqps",
            {"{{kind}} {{outcome}}": f"{_rate('d1_gateway_callbacks_total', '', 'kind', 'outcome')} > 0"},
        ),
        Panel(
            "Fallbacks by kind",
            "D1 got the fallback: no handler, none in time, or all that had it disconnected.",
            "short",
            {
                "{{kind}} {{outcome}}": (
                    "sum by (kind, outcome) (increase("
                    f'd1_gateway_callbacks_total{{{_ASKED},outcome=~"fallback|no_handler|exhausted"}}[$__rate_interval]))'
                )
            },
        ),
        Panel(
            "Time to a handler's reply, p99",
            "Compare it with the deadline of the kind, and with D1's timeout.",
            "s",
            {"{{kind}}": _quantile(0.99, "d1_gateway_callback_duration", 'outcome=~"answered|refused"', "kind")},
        ),
        Panel(
            "Handlers connected, and callback requests open",
            "By kind, at all instances.",
            "short",
            {
                "{{kind}} handlers": "sum by (kind) (d1_gateway_handlers_connected)",
                "{{kind}} open": "sum by (kind) (d1_gateway_callbacks_open)",
            },
        ),
        Panel(
            "Handlers' replies by acknowledgement",
            "Late, already answered, or a reply that fits no callback request.",
            "reqps",
            {"{{outcome}}": _rate("d1_gateway_callback_replies_total", "", "outcome")},
        ),
        Panel(
            "Between gateways",
            "Peers that each gateway hears, and callback requests that pass between them. Empty without a cluster.",
            "short",
            {
                "peers of {{instance}}": "d1_gateway_peers",
                "{{direction}} a second": _rate("d1_gateway_callbacks_relayed_total", "", "direction"),
            },
        ),
    ),
    "Notifications": (
        Panel(
            "Intake by status",
            "What D1 got for its notifications.",
            "reqps",
            {"{{status}}": _rate("d1_gateway_edge_requests_total", _INTAKE, "status")},
        ),
        Panel(
            "Intake latency",
            "From a notification's head to its 204.",
            "s",
            {
                name: _quantile(share, "d1_gateway_edge_request_duration", f'{_INTAKE},status="204"')
                for name, share in (("p50", 0.5), ("p99", 0.99))
            },
        ),
        Panel(
            "Stored",
            "New ones, duplicates, and those that could not be stored.",
            "reqps",
            {"{{outcome}}": _rate("d1_gateway_event_log_appends_total", "", "outcome")},
        ),
        Panel(
            "Lag of subscriptions",
            "Age of the oldest notification that a subscription has not committed.",
            "s",
            {"{{issuer}} {{subscription}}": ("max by (issuer, subscription) (d1_gateway_subscription_lag_seconds)")},
        ),
        Panel(
            "Lag in notifications",
            "Notifications that a subscription has not committed.",
            "short",
            {"{{issuer}} {{subscription}}": "max by (issuer, subscription) (d1_gateway_subscription_lag)"},
        ),
        Panel(
            "Watchers, and what they get",
            "Open watches, those that stand by, and notifications written to streams.",
            "short",
            {
                "open": 'sum(d1_gateway_streams_open{rpc=~".+/WatchNotifications"})',
                "standing by": "sum(d1_gateway_watchers_standing_by)",
                "subscriptions": "max(d1_gateway_subscriptions)",
                "delivered a second": "sum(rate(d1_gateway_notifications_delivered_total[$__rate_interval]))",
            },
        ),
    ),
    "Backfill": (
        Panel(
            "Cards read from D1's history",
            "By the automatic backfill and by calls of BackfillNotifications. Failed: it could not be read to its end.",
            "reqps",
            {"{{outcome}}": _rate("d1_gateway_backfill_cards_total", "", "outcome")},
        ),
        Panel(
            "Recovered notifications",
            "What D1 could not deliver, appended to the event log.",
            "short",
            {"recovered": "sum(increase(d1_gateway_backfill_recovered_total[$__rate_interval]))"},
        ),
        Panel(
            "What waits",
            "Cards to be read, and gaps in which notifications may have been lost.",
            "short",
            {
                "cards": "max by (job) (d1_gateway_backfill_pending_cards)",
                "gaps": "max by (job) (d1_gateway_backfill_pending_gaps)",
            },
        ),
        Panel(
            "Time left",
            "For the cards that wait, at the present rate.",
            "s",
            {
                "left": (
                    "max by (job) (d1_gateway_backfill_pending_cards)"
                    " / sum by (job) (rate(d1_gateway_backfill_cards_total[$__rate_interval]))"
                )
            },
        ),
        Panel(
            "Who does it, and pauses",
            "1 for the gateway that does the automatic backfills; 1 while D1 or the storage makes one wait.",
            "short",
            {
                "{{instance}} does it": "d1_gateway_backfill_leader",
                "paused": "max by (job) (d1_gateway_backfill_paused)",
            },
        ),
    ),
    "Edge": (
        Panel(
            "Requests by status",
            "All of D1's callbacks.",
            "reqps",
            {"{{status}}": _rate("d1_gateway_edge_requests_total", "", "status")},
        ),
        Panel(
            "Connections",
            "Of D1, and of clients that are not known yet.",
            "short",
            {
                "{{instance}} known": "d1_gateway_edge_connections",
                "{{instance}} handshakes": "d1_gateway_edge_handshakes",
            },
        ),
        Panel(
            "Connections turned away",
            "Full and share: D1 does not get in. The others are strangers', as a rule.",
            "short",
            {"{{reason}}": ("sum by (reason) (increase(d1_gateway_edge_connections_refused_total[$__rate_interval]))")},
        ),
    ),
    "Event log and storage": (
        Panel(
            "Size and space left",
            "Bytes of the event log, and what its disk has left (embedded only).",
            "bytes",
            {
                "size": "max by (job) (d1_gateway_event_log_size_bytes)",
                "left {{instance}}": "d1_gateway_event_log_free_bytes",
            },
        ),
        Panel(
            "Growth in an hour",
            "At the rate of the last hour.",
            "bytes",
            {"bytes": "max by (job) (deriv(d1_gateway_event_log_size_bytes[1h])) * 3600"},
        ),
        Panel(
            "Notifications kept",
            "Between the oldest and the newest one.",
            "short",
            {"kept": "max by (job) (d1_gateway_event_log_last_sequence - d1_gateway_event_log_trimmed_sequence)"},
        ),
        Panel(
            "Age of the oldest notification",
            "Retention removes older ones.",
            "s",
            {"oldest": "time() - min by (job) (d1_gateway_event_log_oldest_timestamp_seconds)"},
        ),
        Panel(
            "Time to store a notification",
            "With NATS the time until enough servers have it.",
            "s",
            {
                name: _quantile(share, "d1_gateway_event_log_append_duration", "")
                for name, share in (("p50", 0.5), ("p99", 0.99))
            },
        ),
        Panel(
            "Readiness, damage, epoch",
            "0 for a check that fails: with NATS, its servers are out of reach. More than one epoch: notifications "
            "were lost.",
            "short",
            {
                "{{check}}": "min by (check) (d1_gateway_readiness_check)",
                "damaged": "max(d1_gateway_event_log_damage)",
                "epochs": "count(count by (job, epoch) (d1_gateway_event_log_epoch_info))",
            },
        ),
    ),
    "Processes": (
        Panel(
            "Versions",
            "Instances by version and commit.",
            "short",
            {"{{version}} {{commit}}": "count by (version, commit) (d1_gateway_build_info)"},
        ),
        Panel("Memory", "Resident.", "bytes", {"{{instance}}": "process_resident_memory_bytes"}),
        Panel(
            "CPU",
            "A gateway uses one core at most.",
            "percentunit",
            {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"},
        ),
        Panel(
            "Lag of the event loop, p95",
            "Everything that the process serves is that late.",
            "s",
            {"{{instance}}": _quantile(0.95, "d1_gateway_event_loop_lag", "", "instance")},
        ),
        Panel(
            "File descriptors",
            "Share of those that the process may open.",
            "percentunit",
            {"{{instance}}": "process_open_fds / process_max_fds"},
        ),
        Panel(
            "Certificates: time left",
            "Until the certificate of a setting expires.",
            "s",
            {"{{setting}}": "min by (setting) (d1_gateway_certificate_expiry_timestamp_seconds) - time()"},
        ),
        Panel(
            "Uptime, and log lines lost",
            "Seconds since the start; lines that nobody read, or that could not be written.",
            "short",
            {
                "{{instance}} up": "time() - process_start_time_seconds",
                "{{instance}} lines lost": "increase(d1_gateway_log_lines_lost_total[$__rate_interval])",
            },
        ),
    ),
}
