"""Authenticates cardholders through the 3-D Secure server for the console, with calls to the gateway."""

from typing import Any, Final

import grpc
from aiohttp import web
from google.protobuf.json_format import MessageToDict

from issuer.threeds.v1 import codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from issuer.threeds.v1.ares_pb2 import ARes
from issuer.threeds.v1.service_pb2_grpc import AuthenticationServiceStub
from sandbox.common.areq import payment
from sandbox.common.fields import InvalidValueError, json_object, text
from sandbox.console.cards import answered, explained
from sandbox.console.challenges import RETURN_PATH

__all__ = ["AuthenticationCalls"]

_CALL_SECONDS: Final = 10.0
_DECOUPLED: Final = "decoupled"
_MINUTES_TO_DECIDE: Final = "00005"
_CARDS: Final = {
    "frictionless": "9000100111110103",
    "refused": "9000100111110113",
    "challenge": "9000100111110172",
    "otp": "9000100111110174",
    _DECOUPLED: "9000100111110182",
}
"""Test cards, see sandbox/threeds/cards.py: the last three wait for the cardholder."""


class AuthenticationCalls:
    """The calls, over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AuthenticationServiceStub(channel)

    async def start(self, request: web.Request) -> web.Response:
        """Look a test card up and authenticate its holder, in the way that the body's ``way`` names.

        Raises:
            InvalidFieldError: There is no such way.
        """
        way = text(json_object(await request.read()), "way")
        if way not in _CARDS:
            raise InvalidValueError("way")
        return await answered(self._authenticate(way, f"http://{request.host}{RETURN_PATH}"))

    async def result(self, trans_id: str) -> dict[str, Any]:
        """Return the result of a challenge as the gateway gives it: an RReq, or why there is none."""
        request = threeds.GetChallengeResultRequest(three_ds_server_trans_id=trans_id)
        try:
            found = await self._stub.GetChallengeResult(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            return explained(error)
        return MessageToDict(found.rreq) if found.received else {"received": False}

    async def _authenticate(self, way: str, notification_url: str) -> threeds.AuthenticateResponse:
        pan = _CARDS[way]
        lookup = threeds.LookupCardRequest(acct_number=pan, message_versions=[codes_pb2.MESSAGE_VERSION_2_2_0])
        areq = payment(await self._stub.LookupCard(lookup, timeout=_CALL_SECONDS), pan, notification_url)
        if way == _DECOUPLED:
            areq.three_ds_requestor_dec_req_ind = "Y"
            areq.three_ds_requestor_dec_max_time = _MINUTES_TO_DECIDE
        answer = await self._stub.Authenticate(threeds.AuthenticateRequest(areq=areq), timeout=_CALL_SECONDS)
        # The page has the ARes from the recorder, masked; a browser gets the CReq, and never the authentication value.
        known = answer.ares
        shown = ARes(three_ds_server_trans_id=known.three_ds_server_trans_id, trans_status=known.trans_status)
        challenge = answer.challenge if answer.HasField("challenge") else None
        return threeds.AuthenticateResponse(ares=shown, challenge=challenge)
