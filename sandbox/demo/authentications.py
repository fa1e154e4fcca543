"""Second part: cardholders authenticate through the 3-D Secure server, as in a browser."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable

import aiohttp
import grpc
import orjson

from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import areq_pb2, codes_pb2, service_pb2_grpc
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.common.areq import payment
from sandbox.common.tls import browser_context
from sandbox.demo.browser import Form, post_form
from sandbox.demo.sights import AUTHENTICATIONS
from sandbox.demo.stage import CALL_SECONDS, Stage, expect_error
from sandbox.demo.steps import UnexpectedError, expect

__all__ = ["Authentications"]

_NOTIFICATION_URL = "https://shop.example/3ds/result"
# The last four digits select the outcome, see sandbox/threeds/cards.py; each of these has no 3DS Method.
_AUTHENTICATED = "9000100111110103"
_NOT_AUTHENTICATED = "9000100111110113"
_DIRECTORY_SERVER_SILENT = "9000100111110163"
_CHALLENGE_PASSES = "9000100111110170"
_CHALLENGE_FAILS = "9000100111110171"
_DECOUPLED = "9000100111110180"
_NOT_ENROLLED = "9000100111111111"
_POLL_SECONDS = 0.2


class Authentications:
    """Frictionless, challenged and decoupled authentications."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stub = service_pb2_grpc.AuthenticationServiceStub(stage.channel)
        self._tls = browser_context(stage.sandbox.pki.server_ca)

    async def walk(self) -> None:
        """Run the steps."""
        steps = self._stage.steps
        steps.title("3-D Secure: gRPC -> gateway -> 3-D Secure server -> ACS", see=AUTHENTICATIONS)
        for name, action in self._steps():
            await steps.run(name, action)

    def _steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        return [
            ("a card that is not enrolled is not an error", self._not_enrolled),
            ("frictionless: authenticated", lambda: self._frictionless(_AUTHENTICATED, "AUTHENTICATED")),
            ("frictionless: not authenticated", lambda: self._frictionless(_NOT_AUTHENTICATED, "NOT_AUTHENTICATED")),
            ("a challenge in the browser passes", lambda: self._challenged(_CHALLENGE_PASSES, "AUTHENTICATED")),
            ("a challenge in the browser fails", lambda: self._challenged(_CHALLENGE_FAILS, "NOT_AUTHENTICATED")),
            ("decoupled: the caller polls for the result", self._decoupled),
            ("the directory server does not respond", self._silent),
            ("an AReq that breaks three rules is rejected unsent", self._broken),
        ]

    async def _not_enrolled(self) -> str:
        found = await self._stub.LookupCard(threeds.LookupCardRequest(acct_number=_NOT_ENROLLED), timeout=CALL_SECONDS)
        expect(not found.enrolled, "the response says that the card is enrolled")
        return "enrolled: false"

    async def _frictionless(self, pan: str, expected: str) -> str:
        response = await self._authenticate(await self._areq(pan))
        return _status(response.ares.trans_status, expected)

    async def _challenged(self, pan: str, expected: str) -> str:
        areq = await self._areq(pan)
        response = await self._authenticate(areq)
        _status(response.ares.trans_status, "CHALLENGE")
        form = await self._post(response.challenge.acs_url, {"creq": response.challenge.creq})
        expect(form.action == _NOTIFICATION_URL, f"the form posts to {form.action}")
        # base64url, padded or not.
        brought = orjson.loads(base64.urlsafe_b64decode(form.fields["cres"].rstrip("=") + "=="))
        result = await self._result(areq.three_ds_server_trans_id)
        status = _status(result.rreq.trans_status, expected)
        return f"the browser returns transStatus {brought['transStatus']}, GetChallengeResult says {status}"

    async def _post(self, url: str, fields: dict[str, str]) -> Form:
        try:
            return await post_form(url, fields, self._tls)
        except (aiohttp.ClientError, LookupError) as error:
            raise UnexpectedError(f"the ACS returned no page with a form: {error}") from error

    async def _decoupled(self) -> str:
        areq = await self._areq(_DECOUPLED)
        areq.three_ds_requestor_dec_req_ind = "Y"
        areq.three_ds_requestor_dec_max_time = "00005"
        response = await self._authenticate(areq)
        _status(response.ares.trans_status, "DECOUPLED")
        began = time.perf_counter()
        polls = 1
        while not (result := await self._result(areq.three_ds_server_trans_id)).received:
            await asyncio.sleep(_POLL_SECONDS)
            polls += 1
        status = _status(result.rreq.trans_status, "AUTHENTICATED")
        return f"{status}, on call {polls} after {time.perf_counter() - began:.1f} s"

    async def _silent(self) -> str:
        try:
            await self._authenticate(await self._areq(_DIRECTORY_SERVER_SILENT))
        except grpc.aio.AioRpcError as error:
            return expect_error(error, error_pb2.ERROR_REASON_THREE_DS_TIMED_OUT, error_pb2.ERROR_OUTCOME_UNKNOWN)
        raise UnexpectedError("the call succeeded")

    async def _broken(self) -> str:
        areq = await self._areq(_AUTHENTICATED)
        areq.mcc = "54"
        areq.browser_language = ""
        areq.accept_language.append("en")
        try:
            await self._authenticate(areq)
        except grpc.aio.AioRpcError as error:
            invalid = expect_error(error, error_pb2.ERROR_REASON_INVALID_REQUEST, error_pb2.ERROR_OUTCOME_NOT_SENT)
            return f"{invalid}: {error.details()}"
        raise UnexpectedError("the call succeeded")

    async def _areq(self, pan: str) -> areq_pb2.AReq:
        found = await self._stub.LookupCard(
            threeds.LookupCardRequest(acct_number=pan, message_versions=[codes_pb2.MESSAGE_VERSION_2_2_0]),
            timeout=CALL_SECONDS,
        )
        expect(found.enrolled, "the response says that the card is not enrolled")
        return payment(found, pan, _NOTIFICATION_URL)

    async def _authenticate(self, areq: areq_pb2.AReq) -> threeds.AuthenticateResponse:
        return await self._stub.Authenticate(threeds.AuthenticateRequest(areq=areq), timeout=CALL_SECONDS)

    async def _result(self, three_ds_server_trans_id: str) -> threeds.GetChallengeResultResponse:
        request = threeds.GetChallengeResultRequest(three_ds_server_trans_id=three_ds_server_trans_id)
        return await self._stub.GetChallengeResult(request, timeout=CALL_SECONDS)


def _status(status: "codes_pb2.TransStatus.ValueType", expected: str) -> str:
    name = codes_pb2.TransStatus.Name(status).removeprefix("TRANS_STATUS_")
    expect(name == expected, f"trans_status is {name}")
    return name
