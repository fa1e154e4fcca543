"""Authentications at the 3-D Secure server: the port `gateway.ports.ThreeDSServer`."""

from http import HTTPStatus
from typing import Final

import orjson

from adapters.threeds import codec
from adapters.threeds.client import ThreeDSClient
from adapters.threeds.errors import THREEDS, ErroError, transaction_unknown
from gateway.ports import Call
from gateway.threeds.rules.codes import codes_of
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2, crd_pb2, rreq_pb2

__all__ = ["HttpThreeDSServer"]

_NOT_THERE: Final = "305"
"""From /preauth: no scheme knows the card. From /postauth: no result has come yet."""
_UNKNOWN_TRANSACTION: Final = frozenset({"203", "301"})
"""From /postauth, whose only field is a transaction id of the right form."""
_SERVER: Final = "S"

_VERSIONS = codes_of(codes_pb2.MessageVersion.DESCRIPTOR).by_number


class HttpThreeDSServer:
    """A 3-D Secure server. What each method means, and what it raises, stands at `gateway.ports.ThreeDSServer`."""

    def __init__(self, client: ThreeDSClient) -> None:
        """Work through a client that outlives this."""
        self._client = client

    async def lookup(self, acct_number: str, ds: str, call: Call) -> crd_pb2.CRD | None:
        """Ask what the directory server knows of a card (/preauth)."""
        body = orjson.dumps({"acctNumber": acct_number} | ({"ds": ds} if ds else {}))
        try:
            answer = await self._client.call("/preauth", body, call, answer_type="CRD", idempotent=True)
        except ErroError as error:
            if error.error_code == _NOT_THERE:
                return None
            raise
        crd = codec.decode(crd_pb2.CRD, answer)
        if not crd.three_ds_server_trans_id:
            raise THREEDS.contract_broken("The card range data names no transaction.", status=HTTPStatus.OK)
        return crd

    async def authenticate(self, areq: areq_pb2.AReq, call: Call) -> ares_pb2.ARes:
        """Authenticate a cardholder (/auth)."""
        body = codec.to_body(areq, _VERSIONS[areq.message_version])
        answer = await self._client.call("/auth", body, call, answer_type="ARes", idempotent=False)
        ares = codec.decode(ares_pb2.ARes, answer)
        _expect_transaction(ares.three_ds_server_trans_id, areq.three_ds_server_trans_id, "ARes")
        if ares.message_version != areq.message_version:
            raise THREEDS.contract_broken("The ARes is of another version than the AReq.", status=HTTPStatus.OK)
        return ares

    async def challenge_result(self, three_ds_server_trans_id: str, call: Call) -> rreq_pb2.RReq | None:
        """Get the result of a challenge (/postauth)."""
        body = orjson.dumps({"threeDSServerTransID": three_ds_server_trans_id})
        try:
            answer = await self._client.call("/postauth", body, call, answer_type="RReq", idempotent=True)
        except ErroError as error:
            if error.error_component != _SERVER:
                raise
            if error.error_code == _NOT_THERE:
                return None
            if error.error_code in _UNKNOWN_TRANSACTION:
                raise transaction_unknown(error) from None
            raise
        rreq = codec.decode(rreq_pb2.RReq, answer)
        _expect_transaction(rreq.three_ds_server_trans_id, three_ds_server_trans_id, "RReq")
        return rreq


def _expect_transaction(answered: str, asked: str, message: str) -> None:
    # A UUID means the same in any case (RFC 9562 section 4).
    if answered.lower() != asked.lower():
        raise THREEDS.contract_broken(
            f"The {message} belongs to another transaction than was asked for.", status=HTTPStatus.OK
        )
