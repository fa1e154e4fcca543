"""The 3-D Secure server behind the port `gateway.ports.ThreeDSServer`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

from adapters.threeds import codec
from adapters.threeds.client import ThreeDSClient
from adapters.threeds.errors import THREEDS, ErroError, transaction_unknown
from gateway.ports import Call
from gateway.threeds.rules.codes import codes_of
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2, crd_pb2, rreq_pb2

__all__ = ["HttpThreeDSServer"]

_NOT_FOUND: Final = "305"
"""From /preauth: no scheme knows the card. From /postauth: no result has come yet."""
_UNKNOWN_TRANSACTION: Final = frozenset({"203", "301"})
"""From /postauth, whose only field is a well-formed transaction id."""
_SERVER: Final = "S"

_VERSIONS = codes_of(codes_pb2.MessageVersion.DESCRIPTOR).by_number


class HttpThreeDSServer:
    """A 3-D Secure server; `gateway.ports.ThreeDSServer` documents each method and its errors."""

    def __init__(self, client: ThreeDSClient) -> None:
        self._client = client

    async def lookup(self, acct_number: str, ds: str, call: Call) -> crd_pb2.CRD | None:
        """Look up a card at the directory server (/preauth)."""
        body = orjson.dumps({"acctNumber": acct_number} | ({"ds": ds} if ds else {}))
        try:
            response = await self._client.call("/preauth", body, call, expected_type="CRD", idempotent=True)
        except ErroError as error:
            if error.error_code == _NOT_FOUND:
                return None
            raise
        crd = codec.decode(crd_pb2.CRD, response)
        if not crd.three_ds_server_trans_id:
            raise THREEDS.contract_broken("The card range data has no transaction id.", status=HTTPStatus.OK)
        return crd

    async def authenticate(self, areq: areq_pb2.AReq, call: Call) -> ares_pb2.ARes:
        """Authenticate a cardholder (/auth)."""
        body = codec.to_body(areq, _VERSIONS[areq.message_version])
        response = await self._client.call("/auth", body, call, expected_type="ARes", idempotent=False)
        ares = codec.decode(ares_pb2.ARes, response)
        _check_transaction(ares.three_ds_server_trans_id, areq.three_ds_server_trans_id, "ARes")
        _check_status(response, areq.message_category, "ARes")
        if ares.message_version != areq.message_version:
            raise THREEDS.contract_broken("The ARes has another version than the AReq.", status=HTTPStatus.OK)
        return ares

    async def challenge_result(self, three_ds_server_trans_id: str, call: Call) -> rreq_pb2.RReq | None:
        """Get the result of a challenge (/postauth)."""
        body = orjson.dumps({"threeDSServerTransID": three_ds_server_trans_id})
        try:
            response = await self._client.call("/postauth", body, call, expected_type="RReq", idempotent=True)
        except ErroError as error:
            if error.error_component != _SERVER:
                raise
            if error.error_code == _NOT_FOUND:
                return None
            if error.error_code in _UNKNOWN_TRANSACTION:
                raise transaction_unknown(error) from None
            raise
        rreq = codec.decode(rreq_pb2.RReq, response)
        _check_transaction(rreq.three_ds_server_trans_id, three_ds_server_trans_id, "RReq")
        _check_status(response, rreq.message_category, "RReq")
        return rreq


def _check_transaction(received: str, requested: str, message: str) -> None:
    # UUIDs are case-insensitive (RFC 9562 section 4).
    if received.lower() != requested.lower():
        raise THREEDS.contract_broken(
            f"The {message} belongs to another transaction than the requested one.", status=HTTPStatus.OK
        )


def _check_status(received: Mapping[str, Any], category: codes_pb2.MessageCategory.ValueType, message: str) -> None:
    # Unknown statuses pass, into `unrecognized`. EMV 3DS requires one for payments only.
    if category == codes_pb2.MESSAGE_CATEGORY_PAYMENT and not received.get("transStatus"):
        raise THREEDS.contract_broken(f"The {message} has no transaction status.", status=HTTPStatus.OK)
