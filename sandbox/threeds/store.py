"""The transactions of the 3-D Secure server and the lifetimes of their phases. Independent of HTTP."""

import heapq
import uuid
from collections.abc import Callable

from sandbox.common.state import State
from sandbox.threeds.cards import Card
from sandbox.threeds.contract import (
    CHALLENGE_SECONDS,
    CREQ_SECONDS,
    DECOUPLED_RESULT_SECONDS,
    DONE_SECONDS,
    LOOKUP_SECONDS,
    RESULT_SECONDS,
)
from sandbox.threeds.messages import make_rreq
from sandbox.threeds.transaction import Authentication, Phase, Transaction, Verdict

__all__ = ["PENDING", "Transactions"]

PENDING = frozenset({Phase.CHALLENGED, Phase.ASKING, Phase.DECOUPLED})
"""The phases that wait for a result."""

_NO_CREQ = Verdict("N", reason="14", cancel="05")
_NO_DECISION = Verdict("N", reason="14", cancel="04")


class Transactions:
    """The transactions that have not expired.

    There is no timer: each call first applies all phase changes that fell due, in order and as of their own time.
    """

    def __init__(self, clock: Callable[[], float], state: State) -> None:
        """Start with the transactions that were kept.

        Args:
            clock: Returns the time, in seconds since 1970 (UTC).
            state: Keeps the transactions.
        """
        self._clock = clock
        self._transactions = state.table("transactions", Transaction)
        self._agenda = [(each.due, each.trans_id) for each in self._transactions.values()]
        heapq.heapify(self._agenda)

    def all(self) -> tuple[Transaction, ...]:
        """Return all transactions, oldest first."""
        self._settle()
        return tuple(self._transactions.values())

    def find(self, trans_id: str) -> Transaction | None:
        """Return a transaction in its current phase; None if unknown or expired."""
        self._settle()
        return self._transactions.get(trans_id)

    def seconds_left(self, transaction: Transaction) -> float:
        """Return how many seconds a transaction's phase lasts if nothing happens."""
        return transaction.due - self._clock()

    def open(self, pan: str, card: Card, scheme: str, trans_id: str | None = None) -> Transaction:
        """Start a transaction, under its own id or a free one that the caller chose."""
        transaction = Transaction(trans_id or str(uuid.uuid4()), pan, card, scheme, Phase.LOOKED_UP)
        self._enter(transaction, Phase.LOOKED_UP, self._clock() + LOOKUP_SECONDS)
        return transaction

    def answer(self, transaction: Transaction, authentication: Authentication) -> None:
        """Record a final ARes."""
        transaction.authentication = authentication
        self._enter(transaction, Phase.ANSWERED, self._clock() + DONE_SECONDS)

    def challenge(self, transaction: Transaction, authentication: Authentication) -> None:
        """Record an ARes with a challenge."""
        transaction.authentication = authentication
        self._enter(transaction, Phase.CHALLENGED, self._clock() + CREQ_SECONDS, _NO_CREQ)

    def decouple(
        self, transaction: Transaction, authentication: Authentication, seconds: float, verdict: Verdict
    ) -> None:
        """Record an ARes with decoupled authentication.

        Args:
            transaction: The transaction.
            authentication: The AReq's data.
            seconds: The time to the result, unless one is given sooner.
            verdict: The result at that time.
        """
        transaction.authentication = authentication
        transaction.decoupled = True
        self._enter(transaction, Phase.DECOUPLED, self._clock() + seconds, verdict)

    def ask(self, transaction: Transaction) -> None:
        """Record that the challenge page was shown."""
        self._enter(transaction, Phase.ASKING, self._clock() + CHALLENGE_SECONDS, _NO_DECISION)

    def conclude(self, transaction: Transaction, verdict: Verdict) -> None:
        """Set the result of a pending transaction."""
        self._conclude(transaction, verdict, self._clock())

    def _conclude(self, transaction: Transaction, verdict: Verdict, now: float) -> None:
        transaction.rreq = make_rreq(transaction, verdict)
        lasts = DECOUPLED_RESULT_SECONDS if transaction.decoupled else RESULT_SECONDS
        self._enter(transaction, Phase.RESULT, now + lasts)

    def _enter(self, transaction: Transaction, phase: Phase, due: float, verdict: Verdict | None = None) -> None:
        transaction.phase, transaction.due, transaction.verdict_when_due = phase, due, verdict
        self._transactions[transaction.trans_id] = transaction
        heapq.heappush(self._agenda, (due, transaction.trans_id))

    def _settle(self) -> None:
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            due, trans_id = heapq.heappop(self._agenda)
            transaction = self._transactions.get(trans_id)
            if transaction is None or transaction.due != due:
                continue  # it has changed phase since
            if transaction.verdict_when_due is None:
                del self._transactions[trans_id]
            else:
                self._conclude(transaction, transaction.verdict_when_due, due)
