"""The transactions of the 3-D Secure server and how long each of their phases lasts. Knows nothing of HTTP."""

import heapq
import uuid
from collections.abc import Callable

from sandbox.threeds.cards import Card
from sandbox.threeds.contract import (
    ANSWERED_SECONDS,
    CHALLENGE_SECONDS,
    CREQ_SECONDS,
    DECOUPLED_RESULT_SECONDS,
    LOOKUP_SECONDS,
    RESULT_SECONDS,
)
from sandbox.threeds.messages import make_rreq
from sandbox.threeds.transaction import Authentication, Phase, Transaction, Verdict

__all__ = ["PENDING", "Transactions"]

PENDING = frozenset({Phase.CHALLENGED, Phase.ASKING, Phase.DECOUPLED})
"""The phases in which a result is still to come."""

_NO_CREQ = Verdict("N", reason="14", cancel="05")
_NO_DECISION = Verdict("N", reason="14", cancel="04")


class Transactions:
    """The transactions that are not yet forgotten.

    No timer runs: whatever fell due since the last call happens, in its order and as of its own time, before the next.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start without any.

        Args:
            clock: Tells the time, in seconds since 1970 (UTC).
        """
        self._clock = clock
        self._transactions: dict[str, Transaction] = {}
        self._agenda: list[tuple[float, str]] = []

    def all(self) -> tuple[Transaction, ...]:
        """All transactions, in the order in which they came."""
        self._settle()
        return tuple(self._transactions.values())

    def find(self, trans_id: str) -> Transaction | None:
        """Return a transaction as it stands now; None if there is none, or none any more."""
        self._settle()
        return self._transactions.get(trans_id)

    def seconds_left(self, transaction: Transaction) -> float:
        """Tell how long a transaction's phase lasts if nothing happens."""
        return transaction.due - self._clock()

    def open(self, pan: str, card: Card, scheme: str, trans_id: str | None = None) -> Transaction:
        """Begin a transaction, under an id of its own or one that the caller chose and that is free."""
        transaction = Transaction(trans_id or str(uuid.uuid4()), pan, card, scheme, Phase.LOOKED_UP)
        self._transactions[transaction.trans_id] = transaction
        self._enter(transaction, Phase.LOOKED_UP, self._clock() + LOOKUP_SECONDS)
        return transaction

    def answer(self, transaction: Transaction, authentication: Authentication) -> None:
        """Note that its AReq was answered for good."""
        transaction.authentication = authentication
        self._enter(transaction, Phase.ANSWERED, self._clock() + ANSWERED_SECONDS)

    def challenge(self, transaction: Transaction, authentication: Authentication) -> None:
        """Note that its AReq was answered with a challenge."""
        transaction.authentication = authentication
        self._enter(transaction, Phase.CHALLENGED, self._clock() + CREQ_SECONDS, _NO_CREQ)

    def decouple(
        self, transaction: Transaction, authentication: Authentication, seconds: float, verdict: Verdict
    ) -> None:
        """Note that its cardholder is asked elsewhere.

        Args:
            transaction: The transaction.
            authentication: What its AReq said.
            seconds: When there is a result, if none is given sooner.
            verdict: What it then is.
        """
        transaction.authentication = authentication
        transaction.decoupled = True
        self._enter(transaction, Phase.DECOUPLED, self._clock() + seconds, verdict)

    def ask(self, transaction: Transaction) -> None:
        """Note that its cardholder was shown the challenge page."""
        self._enter(transaction, Phase.ASKING, self._clock() + CHALLENGE_SECONDS, _NO_DECISION)

    def conclude(self, transaction: Transaction, verdict: Verdict) -> None:
        """Give a pending transaction its result."""
        self._conclude(transaction, verdict, self._clock())

    def _conclude(self, transaction: Transaction, verdict: Verdict, now: float) -> None:
        transaction.rreq = make_rreq(transaction, verdict)
        lasts = DECOUPLED_RESULT_SECONDS if transaction.decoupled else RESULT_SECONDS
        self._enter(transaction, Phase.RESULT, now + lasts)

    def _enter(self, transaction: Transaction, phase: Phase, due: float, verdict: Verdict | None = None) -> None:
        transaction.phase, transaction.due, transaction.verdict_when_due = phase, due, verdict
        heapq.heappush(self._agenda, (due, transaction.trans_id))

    def _settle(self) -> None:
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            due, trans_id = heapq.heappop(self._agenda)
            transaction = self._transactions.get(trans_id)
            if transaction is None or transaction.due != due:
                continue  # it has gone on since
            if transaction.verdict_when_due is None:
                del self._transactions[trans_id]
            else:
                self._conclude(transaction, transaction.verdict_when_due, due)
