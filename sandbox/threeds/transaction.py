"""A transaction of the 3-D Secure server, as it stands."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sandbox.threeds.cards import Card

__all__ = ["FAILED", "PASSED", "Authentication", "Phase", "Transaction", "Verdict"]


class Phase(StrEnum):
    """What a transaction waits for."""

    LOOKED_UP = "LOOKED_UP"
    """/preauth was called; the AReq is awaited."""
    ANSWERED = "ANSWERED"
    """The ARes was final; nothing more comes."""
    CHALLENGED = "CHALLENGED"
    """The ARes asked for a challenge; the CReq is awaited."""
    ASKING = "ASKING"
    """The challenge page is shown; the cardholder's decision is awaited."""
    DECOUPLED = "DECOUPLED"
    """The cardholder is asked elsewhere."""
    RESULT = "RESULT"
    """The RReq is there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a challenge or decoupled authentication ended."""

    status: str
    """The ``transStatus`` of the RReq."""
    reason: str | None = None
    """The ``transStatusReason``."""
    cancel: str | None = None
    """The ``challengeCancel``."""


PASSED = Verdict("Y")
FAILED = Verdict("N", reason="01")


@dataclass(frozen=True, slots=True)
class Authentication:
    """What of an AReq is needed after it was answered, and the ids that the answer gave it."""

    version: str
    channel: str
    category: str
    notification_url: str | None
    sdk_trans_id: str | None
    acs_trans_id: str
    ds_trans_id: str


@dataclass(slots=True)
class Transaction:
    """A transaction. `sandbox.threeds.store.Transactions` moves it from phase to phase."""

    trans_id: str
    """The ``threeDSServerTransID``."""
    pan: str = field(repr=False)
    card: Card
    scheme: str
    phase: Phase
    due: float = 0.0
    """When the phase ends by itself, in seconds since 1970 (UTC)."""
    verdict_when_due: Verdict | None = None
    """The result that there is then; None if the transaction is then forgotten."""
    authentication: Authentication | None = None
    session_data: str | None = field(default=None, repr=False)
    """The ``threeDSSessionData`` that came with the CReq."""
    decoupled: bool = False
    rreq: dict[str, Any] | None = field(default=None, repr=False)
    """The result, as /postauth gives it out."""
