"""AuthenticationService: forwards each rpc to the 3DS server, and prepares what the browser needs next."""

import time
from collections.abc import Sequence
from uuid import uuid4

from google.protobuf.message import Message

from gateway.errors import FieldViolation
from gateway.grpc_api.interceptors.chain import Context
from gateway.grpc_api.interceptors.context import outbound
from gateway.ports import ThreeDSServer
from gateway.threeds import challenge, lookup
from gateway.threeds.rules.compiler import check_request
from issuer.threeds.v1 import areq_pb2, service_pb2_grpc
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["AuthenticationServicer", "emv_violations"]


class AuthenticationServicer(service_pb2_grpc.AuthenticationServiceServicer):
    """See ``issuer/threeds/v1/service.proto`` for the contract of each rpc.

    Requests have passed `emv_violations` already.
    """

    def __init__(self, server: ThreeDSServer) -> None:
        self._server = server

    async def LookupCard(self, request: threeds.LookupCardRequest, context: Context) -> threeds.LookupCardResponse:
        """Look up whether a card is enrolled in 3-D Secure."""
        call = outbound(request.issuer_id, context)
        request_time = time.time()
        crd = await self._server.lookup(request.acct_number, request.ds, call)
        if crd is None:
            return threeds.LookupCardResponse(enrolled=False)
        return lookup.describe(crd, request, request_time)

    async def Authenticate(
        self, request: threeds.AuthenticateRequest, context: Context
    ) -> threeds.AuthenticateResponse:
        """Authenticate a cardholder."""
        call = outbound(request.issuer_id, context)
        ares = await self._server.authenticate(_identified(request.areq), call)
        return challenge.describe(request, ares, time.time())

    async def GetChallengeResult(
        self, request: threeds.GetChallengeResultRequest, context: Context
    ) -> threeds.GetChallengeResultResponse:
        """Get the result of a challenge."""
        call = outbound(request.issuer_id, context)
        rreq = await self._server.challenge_result(request.three_ds_server_trans_id, call)
        return threeds.GetChallengeResultResponse(received=rreq is not None, rreq=rreq)


def emv_violations(request: Message) -> Sequence[FieldViolation]:
    """Return the violations of EMV 3DS rules that the contract's annotations cannot express."""
    if isinstance(request, threeds.AuthenticateRequest):
        return check_request(request.areq)
    return ()


def _identified(areq: areq_pb2.AReq) -> areq_pb2.AReq:
    """Return the request with a transaction id, a new one unless it has one."""
    if areq.three_ds_server_trans_id:
        return areq
    identified = areq_pb2.AReq(three_ds_server_trans_id=str(uuid4()))
    identified.MergeFrom(areq)
    return identified
