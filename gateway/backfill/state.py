"""What the automatic backfill does at this gateway, for metrics and people.

One gateway of a cluster, the leader, does it: the others have a state without issuers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.errors import Reason

__all__ = ["BackfillPhase", "BackfillState", "BackfillView", "Cause", "IssuerBackfill", "IssuerPause"]


class Cause(StrEnum):
    """Why cards are read: the word for it in records, logs and on the operators' page. Stored; never change one."""

    OUTAGE = "outage"
    """No gateway took notifications for a time."""
    LOG_LOSS = "log_loss"
    """The event log lost its newest notifications."""
    SKIPPED = "skipped"
    """An operator skipped a damaged notification."""
    REFUSED = "refused"
    """Notifications were refused, or could not be read."""
    SWEEP = "sweep"
    """The configured interval is over."""


class BackfillPhase(StrEnum):
    """What the backfill of an issuer does at the moment."""

    IDLE = "idle"
    """Nothing."""
    RUNNING = "running"
    """It reads cards, or looks for those to read."""
    PAUSED = "paused"
    """It waits: see `IssuerBackfill.pause`."""


@dataclass(frozen=True, slots=True)
class IssuerPause:
    """Why the backfill of an issuer waits."""

    reason: Reason
    until_ms: int
    """When it tries again, in milliseconds since 1970 (UTC)."""


@dataclass(slots=True)
class IssuerBackfill:
    """The backfill of one issuer.

    A run reads all active cards, because of one or more gaps. Between its cards, or without a run, the cards of refused
    notifications are read; those are no part of it.
    """

    phase: BackfillPhase = BackfillPhase.IDLE
    pause: IssuerPause | None = None
    """Set while the phase is paused."""
    causes: Sequence[Cause] = ()
    """The causes of the present run's gaps; none if there is no run."""
    since_ms: int = 0
    """The time from which on its cards are read, in milliseconds since 1970 (UTC)."""
    started_ms: int = 0
    """When this gateway began the run, or took it over."""
    cards_total: int = 0
    """Cards of the run; 0 until they are known."""
    cards_done: int = 0
    """Of these, the ones that are done, failed ones included."""
    cards_done_before: int = 0
    """Of these, the ones that were done when this gateway began: another gateway, or process, did them."""
    recovered_count: int = 0
    """Notifications that the run has appended."""
    failed_count: int = 0
    """Cards of the run that could not be read."""
    pending_gaps: int = 0
    """Gaps that wait, those of the present run included."""
    pending_cards: int = 0
    """Cards of refused notifications that wait."""


@dataclass(slots=True)
class BackfillState:
    """The state of the automatic backfill at this gateway."""

    is_enabled: bool = True
    is_leader: bool = False
    """Whether this gateway does the backfills. Of a cluster, one does."""
    issuers: dict[str, IssuerBackfill] = field(default_factory=dict)
    """By issuer id; empty unless this gateway is the leader."""

    @property
    def phase(self) -> BackfillPhase:
        """The busiest phase of all issuers: running, else paused, else idle."""
        phases = {issuer.phase for issuer in self.issuers.values()}
        busiest = (BackfillPhase.RUNNING, BackfillPhase.PAUSED)
        return next((phase for phase in busiest if phase in phases), BackfillPhase.IDLE)

    @property
    def is_paused(self) -> bool:
        """Whether the backfill of an issuer waits."""
        return any(issuer.phase is BackfillPhase.PAUSED for issuer in self.issuers.values())

    @property
    def pending_gaps(self) -> int:
        """Gaps of all issuers that wait or are being closed."""
        return sum(issuer.pending_gaps for issuer in self.issuers.values())

    @property
    def pending_cards(self) -> int:
        """Cards of all issuers that wait: those of refused notifications, and the rest of each run."""
        return sum(each.pending_cards + each.cards_total - each.cards_done for each in self.issuers.values())


class BackfillView(NamedTuple):
    """The automatic backfill of the whole cluster, for people."""

    state: BackfillState
    """At a gateway that stands by, its `issuers` are what the leader has stored: without pauses and rates."""
    is_at_peer: bool = False
    """Whether another gateway is the leader."""
