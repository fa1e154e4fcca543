"""A transaction of the 3-D Secure server."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sandbox.threeds.cards import Card

__all__ = ["FAILED", "PASSED", "Authentication", "Phase", "Transaction", "Verdict"]


class Phase(StrEnum):
    """What a transaction waits for."""

    LOOKED_UP = "LOOKED_UP"
    """After /preauth, for the AReq."""
    ANSWERED = "ANSWERED"
    """Nothing: the ARes was final."""
    CHALLENGED = "CHALLENGED"
    """After an ARes with a challenge, for the CReq."""
    ASKING = "ASKING"
    """The cardholder's decision on the challenge page."""
    DECOUPLED = "DECOUPLED"
    """The decoupled authentication of the cardholder."""
    RESULT = "RESULT"
    """Nothing: the RReq exists."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a challenge or decoupled authentication."""

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
    """The data of an AReq that later messages need, and the ids of its ARes."""

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
    """The end of the phase, in seconds since 1970 (UTC)."""
    verdict_when_due: Verdict | None = None
    """The result at that time; None if the transaction then expires."""
    authentication: Authentication | None = None
    session_data: str | None = field(default=None, repr=False)
    """The ``threeDSSessionData`` that came with the CReq."""
    decoupled: bool = False
    rreq: dict[str, Any] | None = field(default=None, repr=False)
    """The result, as /postauth returns it."""
