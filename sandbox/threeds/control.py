"""The part of the control API that shows 3DS transactions and decides for the cardholder."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from aiohttp import web

from sandbox.common.fields import choice, json_object, text
from sandbox.threeds.store import PENDING, Transactions
from sandbox.threeds.transaction import FAILED, PASSED, Transaction, Verdict

__all__ = ["NoSuchTransactionError", "ThreeDSControl"]


class NoSuchTransactionError(Exception):
    """No transaction has that id, or it does not wait for a result."""


class _Decision(StrEnum):
    PASS = "pass"  # noqa: S105 - a decision
    FAIL = "fail"


_VERDICTS: Mapping[_Decision, Verdict] = {_Decision.PASS: PASSED, _Decision.FAIL: FAILED}


@dataclass(frozen=True, slots=True)
class ThreeDSControl:
    """The control API of the 3-D Secure server."""

    ENDPOINTS: ClassVar[Mapping[str, str]] = {
        "GET /sandbox/threeds/transactions": "",
        "POST /sandbox/threeds/decisions": "threeDSServerTransID, decision (pass or fail)",
    }
    """Each endpoint with its fields."""

    url: str
    """The URL of the 3-D Secure server."""
    transactions: Transactions

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/sandbox/threeds/transactions", self._list),
            web.post("/sandbox/threeds/decisions", self._decide),
        ]

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"transactions": [self._shown(found) for found in self.transactions.all()]})

    async def _decide(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        transaction = self.transactions.find(text(body, "threeDSServerTransID"))
        decision = choice(body, "decision", _Decision)
        if transaction is None or transaction.phase not in PENDING:
            raise NoSuchTransactionError
        self.transactions.conclude(transaction, _VERDICTS[decision])
        return web.Response(status=204)

    def _shown(self, transaction: Transaction) -> dict[str, Any]:
        """Return a transaction without its card number."""
        of, rreq = transaction.authentication, transaction.rreq
        return {
            "threeDSServerTransID": transaction.trans_id,
            "acsTransID": of.acs_trans_id if of is not None else None,
            "phase": transaction.phase.value,
            "secondsLeft": round(self.transactions.seconds_left(transaction), 3),
            "awaitsDecision": transaction.phase in PENDING,
            "transStatus": rreq["transStatus"] if rreq is not None else None,
        }
