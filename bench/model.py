"""A model: the cores, memory and disk of a large bank, from measured unit costs and stated assumptions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Final

from bench.common.report import Table
from bench.common.results import Row, figures, find
from bench.latest import Measured

__all__ = ["ASSUMPTIONS", "Assumptions", "Load", "assumptions_table", "loads", "model_table", "sizes_table"]

_DAY_SECONDS: Final = 86_400
_YEAR_DAYS: Final = 365
_MICROSECONDS: Final = 1e6
_MIB: Final = 1024 * 1024
_GIB: Final = 1024 * _MIB
_KIB_A_MIB: Final = 1024
_THREE: Final = "R3, sync always"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the model assumes of a bank."""

    cards: int = 10_000_000
    purchases_a_card_a_day: float = 0.5
    """Purchases that pass 3-D Secure."""
    challenged: float = 0.5
    """The share of them that are challenged."""
    notifications_a_purchase: int = 1
    """Of a frictionless one; a challenged one has one more, for how it ended."""
    callbacks_a_challenge: int = 2
    """Callback requests of a challenge: the consumer's information, and an OTP or an authentication."""
    authentications_a_card_a_day: float = 0.05
    """Authentications that the bank itself starts at the 3-D Secure server."""
    changes_a_card_a_year: float = 4.0
    """Changes of a card's life cycle, each with a `request_id`."""
    changes_with_card_data: float = 0.25
    """The share of them for which card data is encrypted."""
    peak: float = 8.0
    """The rate of the busiest minutes, divided by the mean."""
    watchers: int = 10
    """Watchers of every notification."""
    retention_days: float = 3.0
    busy: float = 0.5
    """The share of each core that is used at the peak; the rest is headroom."""


ASSUMPTIONS: Final = Assumptions()


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of work at the peak, and its cost."""

    name: str
    per_second: float
    busy_us: float
    """Processor time of one while the gateway is never idle, which is the least."""
    quiet_us: float
    """The same at a low rate, which is the most."""
    is_of_nats: bool = False
    """Whether the NATS servers do it, not the gateways."""


@dataclass(frozen=True, slots=True)
class _Results:
    rows: Sequence[Row]

    def figure(self, scenario: str, case: str, name: str = "cpu_us", server: str = "gateway") -> float:
        return median(figures(find(self.rows, scenario, case, server), name))

    def delivery_us(self, few: str, many: str) -> float:
        """Return the cost of one more delivery, from the costs with 1 watcher and with 10."""
        alone, together = self.figure("fan-out", f"1 watcher, {few}"), self.figure("fan-out", f"10 watchers, {many}")
        return max(0.0, (10 * together - alone) / 9)


def loads(found: Mapping[str, Measured], assumed: Assumptions = ASSUMPTIONS) -> list[Load]:
    """Return the work of a cluster of gateways on three NATS servers at the peak.

    Raises:
        LookupError: A figure was not measured.
    """
    of = _Results([row for measured in found.values() for row in measured.rows])
    a_second = assumed.cards * assumed.peak / _DAY_SECONDS
    purchases = assumed.purchases_a_card_a_day * a_second
    notifications = purchases * (assumed.notifications_a_purchase + assumed.challenged)
    callbacks = purchases * assumed.challenged * assumed.callbacks_a_challenge
    changes = assumed.changes_a_card_a_year / _YEAR_DAYS * a_second
    with_data = changes * assumed.changes_with_card_data
    many, few = "notifications, 64 connections", "notifications, 500/s over 32 connections"
    record, without = "CreateCard with request_id", "CreateCard"

    def stored(name: str) -> tuple[float, float]:
        return of.figure("cluster", many, name, _THREE), of.figure("cluster", few, name, _THREE)

    def call(name: str, scenario: str = "unary") -> tuple[float, float]:
        return of.figure(scenario, f"{name}, 32 in flight, TLS"), of.figure(scenario, f"{name}, 1 in flight, TLS")

    def kept(name: str) -> float:
        return of.figure("cluster", record, name, _THREE) - of.figure("cluster", without, name, _THREE)

    return [
        Load("notifications stored", notifications, *stored("cpu_us")),
        Load(
            f"notifications delivered, {assumed.watchers} watchers",
            notifications * assumed.watchers,
            of.delivery_us("burst of 2,000", "burst of 2,000"),
            of.delivery_us("200/s", "200/s"),
        ),
        Load(
            "callbacks",
            callbacks,
            of.figure("cluster", "callbacks, 16 connections", server="R1, handler here"),
            of.figure("cluster", "callbacks, 500/s over 16 connections", server="R1, handler here"),
        ),
        Load("Authenticate", assumed.authentications_a_card_a_day * a_second, *call("Authenticate", "authenticate")),
        Load("changes without card data", changes - with_data, *call("SuspendCard")),
        Load("changes with card data", with_data, *call("RegisterCard")),
        Load("idempotency records", changes, kept("cpu_us"), kept("cpu_us")),
        Load("notifications stored, three NATS servers", notifications, *stored("nats_cpu_us"), is_of_nats=True),
        Load(
            "idempotency records, three NATS servers",
            changes,
            kept("nats_cpu_us"),
            kept("nats_cpu_us"),
            is_of_nats=True,
        ),
    ]


def assumptions_table(assumed: Assumptions = ASSUMPTIONS) -> Table:
    """Return the table of assumptions."""
    cells = [
        ["cards", f"{assumed.cards:,}"],
        ["purchases that pass 3-D Secure, for each card and day", f"{assumed.purchases_a_card_a_day:g}"],
        ["of them challenged", f"{assumed.challenged:.0%}"],
        ["notifications of a purchase; one more if challenged", f"{assumed.notifications_a_purchase}"],
        ["callback requests of a challenge", f"{assumed.callbacks_a_challenge}"],
        [
            "authentications that the bank starts itself, for each card and day",
            f"{assumed.authentications_a_card_a_day:g}",
        ],
        ["changes of a card in a year, each with a `request_id`", f"{assumed.changes_a_card_a_year:g}"],
        ["of them with card data", f"{assumed.changes_with_card_data:.0%}"],
        ["the busiest minutes, of the mean rate", f"{assumed.peak:g} times"],
        ["watchers of every notification", f"{assumed.watchers}"],
        ["retention, days", f"{assumed.retention_days:g}"],
        ["of each core used at the peak", f"{assumed.busy:.0%}"],
    ]
    return Table(["assumed", ""], cells)


def model_table(found: Mapping[str, Measured], assumed: Assumptions = ASSUMPTIONS) -> Table:
    """Return the table of work and its processor time, with sums."""
    work = loads(found, assumed)
    cells = [
        [each.name, f"{each.per_second:,.0f}", f"{each.busy_us:,.0f}", f"{each.quiet_us:,.0f}", *_cores([each])]
        for each in work
    ]
    cells += [
        [f"**all gateways, {assumed.busy:.0%} busy**", "", "", "", *_cores(_gateways(work), assumed.busy)],
        [f"**all NATS servers, {assumed.busy:.0%} busy**", "", "", "", *_cores(_nats(work), assumed.busy)],
    ]
    columns = ["at the peak", "per second", "CPU busy, us", "CPU quiet, us", "cores busy", "cores quiet"]
    return Table(columns, cells)


def sizes_table(found: Mapping[str, Measured], assumed: Assumptions = ASSUMPTIONS) -> Table:
    """Return the table of machines: gateways, memory, disk."""
    of = _Results([row for measured in found.values() for row in measured.rows])
    work = _gateways(loads(found, assumed))
    needed = ceil(sum(each.per_second * each.quiet_us for each in work) / _MICROSECONDS / assumed.busy)
    a_day = assumed.cards * assumed.purchases_a_card_a_day * (assumed.notifications_a_purchase + assumed.challenged)
    stored = a_day * assumed.retention_days
    memory = of.figure("start", "start, then idle", "rss_mib")
    memory += assumed.watchers * of.figure("fan-out", "100 watchers, burst of 2,000", "kib_a_watcher") / _KIB_A_MIB
    cells = [
        ["gateways of one core, and one more in case one fails", f"{needed} + 1"],
        ["memory of a gateway, at rest with all watchers, MiB", f"{memory:,.0f}"],
        ["notifications stored", f"{stored:,.0f}"],
        ["bytes of the embedded event log for a notification", f"{_bytes(of):,.0f}"],
        ["an embedded event log of all of them, GiB", f"{stored * _bytes(of) / _GIB:,.0f}"],
    ]
    return Table(["needed", ""], cells)


def _bytes(of: _Results) -> float:
    few, many = (of.figure("growth", f"{size} stored, start", "log_mib") for size in ("1,000,000", "5,000,000"))
    return (many - few) * _MIB / 4_000_000


def _gateways(work: Sequence[Load]) -> list[Load]:
    return [each for each in work if not each.is_of_nats]


def _nats(work: Sequence[Load]) -> list[Load]:
    return [each for each in work if each.is_of_nats]


def _cores(work: Sequence[Load], busy: float = 1.0) -> tuple[str, str]:
    least = sum(each.per_second * each.busy_us for each in work) / _MICROSECONDS / busy
    most = sum(each.per_second * each.quiet_us for each in work) / _MICROSECONDS / busy
    return f"{least:.2f}", f"{most:.2f}"
