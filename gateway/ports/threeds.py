"""The 3-D Secure server."""

from typing import Protocol

from gateway.ports.cards import Call
from issuer.threeds.v1 import areq_pb2, ares_pb2, crd_pb2, rreq_pb2

__all__ = ["ThreeDSServer"]


class ThreeDSServer(Protocol):
    """A 3-D Secure server, which talks to the directory servers and through them to the cards' ACS.

    Every method returns after the server's response. Otherwise it raises `gateway.errors.GatewayError`, whose outcome
    says whether the request may have taken effect. An Erro from any party is such an error, unless it is the regular
    response to the request.
    """

    async def lookup(self, acct_number: str, ds: str, call: Call) -> crd_pb2.CRD | None:
        """Look up a card at the directory server. Idempotent: retried where that can help.

        Args:
            acct_number: The card's account number (PAN).
            ds: Directory server; empty for the one that the number determines.
            call: Context of the caller.

        Returns:
            The card range data, with the id of the new transaction; None if the card is not enrolled.
        """
        ...

    async def authenticate(self, areq: areq_pb2.AReq, call: Call) -> ares_pb2.ARes:
        """Authenticate a cardholder. Not idempotent: never repeated once it was sent.

        Args:
            areq: The complete request, valid for its version, channel and category.
            call: Context of the caller.

        Returns:
            The response, of the same transaction and version as the request.
        """
        ...

    async def challenge_result(self, three_ds_server_trans_id: str, call: Call) -> rreq_pb2.RReq | None:
        """Return the result of a challenge or a decoupled authentication. Idempotent: retried where that can help.

        Args:
            three_ds_server_trans_id: The transaction.
            call: Context of the caller.

        Returns:
            The transaction's result; None if there is none yet.

        Raises:
            GatewayError: THREE_DS_TRANSACTION_UNKNOWN if the server does not know the transaction.
        """
        ...
