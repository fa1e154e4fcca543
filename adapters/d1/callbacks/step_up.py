"""Step-up authentication: the issuer authenticates a consumer, and D1 asks for the result (D1 API: OOB flow).

D1's documentation does not say whether D1 polls or asks once, in the end. So a request is held for a while.
"""

import asyncio
from collections.abc import Container
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from adapters.d1.assumptions import Assumption
from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.dispatcher import CallbackDispatcher, NoReplyError
from adapters.d1.callbacks.fields import CONSUMER_ID, OPERATION_ID, Fields
from adapters.d1.callbacks.misfits import Misfits
from adapters.d1.callbacks.request import MAX_TEXT_LENGTH, id_in_path, issuer_in_path, parse_transaction, read_fields
from gateway.edge.held_requests import while_held
from gateway.edge.responses import json_response
from gateway.edge.server_connection import while_connected
from gateway.errors import GatewayError
from gateway.ports import AuthenticationResultStore
from gateway.ports.meter import UpstreamMeter
from gateway.settings import CallbackPolicySettings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2, requests_pb2
from issuer.consumer.v1 import authentication_pb2 as authentication

__all__ = ["ASSUMPTIONS", "StepUpCallbacks", "parse_authentication", "reference_body", "result_body"]

ASSUMPTIONS: Final = (
    Assumption(
        what="D1 asks for a result until it is final, or once at the end",
        basis="D1's guide, which says only that the issuer offers the result; the gateway does both",
        if_wrong="An answer is pending for a D1 that asks once and sooner: the purchase fails. Raise `wait_seconds`.",
    ),
)

_log = structlog.get_logger(__name__)


class StepUpCallbacks:
    """Passes both callbacks to handlers; responds with a stored result if there is one."""

    def __init__(
        self,
        issuers: Container[str],
        dispatcher: CallbackDispatcher,
        results: AuthenticationResultStore,
        meter: UpstreamMeter,
        *,
        authenticate: CallbackPolicySettings,
        result: CallbackPolicySettings,
        wait_seconds: float,
        pending_without_reply: bool,
    ) -> None:
        """Initialise.

        Args:
            issuers: The issuers that are served.
            dispatcher: Sends callback requests to handlers.
            results: The final results.
            meter: Counts fields that do not fit.
            authenticate: Deadline and fallback of the request to authenticate.
            result: Deadline and fallback of the request for a result.
            wait_seconds: How long a request for a result is held until there is one.
            pending_without_reply: Whether D1 gets the response pending, not the fallback, if no handler replies.
        """
        self._issuers = issuers
        self._dispatcher = dispatcher
        self._results = results
        self._misfits = Misfits(meter)
        self._authenticate = authenticate
        self._result = result
        self._wait_seconds = wait_seconds
        self._pending_without_reply = pending_without_reply

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post(d1.AUTHENTICATE_PATH, self.post),
            web.get(d1.AUTHENTICATION_RESULT_PATH, self.get_result, allow_head=False),
        ]

    async def post(self, request: web.Request) -> web.Response:
        """Begin an authentication, and respond with its id.

        Raises:
            HttpError: The request is malformed, no handler replies, or the handler declines.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        wanted = requests_pb2.AuthenticateConsumerRequest(consumer_id=id_in_path(request, "consumerId", CONSUMER_ID))
        fields = await read_fields(request)
        parse_authentication(fields, wanted)
        self._misfits.report("authenticate", fields)
        reply = await self._dispatcher.ask(
            request, callback.CallbackRequest(issuer_id=issuer_id, authenticate=wanted), self._authenticate
        )
        return json_response(d1.AUTHENTICATE_STATUS, reference_body(reply.authenticate))

    async def get_result(self, request: web.Request) -> web.Response:
        """Respond with the state of an authentication. A final result is the same for every request.

        Raises:
            HttpError: An id is malformed, the handler declines, or no handler replies and that does not mean pending.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        wanted = requests_pb2.AuthenticationResultRequest(
            consumer_id=id_in_path(request, "consumerId", CONSUMER_ID),
            authentication_id=id_in_path(request, "authenticationId", OPERATION_ID),
        )
        result = await self._stored(issuer_id, wanted)
        if result is None:
            # Also while no handler is asked any more.
            result = await while_connected(request, partial(self._reported, request, issuer_id, wanted))
        return json_response(d1.AUTHENTICATION_RESULT_STATUS, result_body(wanted.authentication_id, result))

    async def _reported(
        self, polled: web.Request, issuer_id: str, wanted: requests_pb2.AuthenticationResultRequest
    ) -> authentication.AuthenticationResult:
        """Return the first final result that a handler or CompleteAuthentication reports in time, or pending."""
        # Both at once: a handler that hangs does not hide a result, and D1 waits for the longer of the two times.
        wait = partial(self._stored, issuer_id, wanted, self._wait_seconds)
        stored = asyncio.create_task(while_held(polled, wait))
        asked = asyncio.create_task(self._ask(polled, issuer_id, wanted))
        try:
            await asyncio.wait((stored, asked), return_when=asyncio.FIRST_COMPLETED)
            if stored.done() and (result := stored.result()) is not None:
                return result
            try:
                reply = await asked
            except NoReplyError:
                if (result := await stored) is not None:
                    return result
                raise
            if reply.status == authentication.AUTHENTICATION_STATUS_PENDING:
                return await stored or reply
            return reply
        finally:
            stored.cancel()
            asked.cancel()
            await asyncio.gather(stored, asked, return_exceptions=True)

    async def _stored(
        self, issuer_id: str, wanted: requests_pb2.AuthenticationResultRequest, wait_seconds: float = 0.0
    ) -> authentication.AuthenticationResult | None:
        ids = issuer_id, wanted.consumer_id, wanted.authentication_id
        try:
            return await self._results.find(*ids, wait_seconds=wait_seconds)
        except GatewayError as error:
            # A handler may know the result, and D1 may ask again.
            _log.warning("authentication_result_not_read", reason=error.reason_name)
            return None

    async def _ask(
        self, polled: web.Request, issuer_id: str, wanted: requests_pb2.AuthenticationResultRequest
    ) -> authentication.AuthenticationResult:
        request = callback.CallbackRequest(issuer_id=issuer_id, authentication_result=wanted)
        try:
            # Nobody needs a handler to connect: the result may be reported without one.
            reply = await self._dispatcher.ask(polled, request, self._result, wait_for_handler=False)
        except NoReplyError:
            if not self._pending_without_reply:
                raise
            return authentication.AuthenticationResult(status=authentication.AUTHENTICATION_STATUS_PENDING)
        received = reply.authentication_result
        result = authentication.AuthenticationResult(
            authentication_id=wanted.authentication_id, status=received.status, error=received.error
        )
        if received.status == authentication.AUTHENTICATION_STATUS_PENDING:
            return result
        return await self._results.settle(issuer_id, wanted.consumer_id, result)


def parse_authentication(fields: Fields, wanted: requests_pb2.AuthenticateConsumerRequest) -> None:
    """Parse a request to authenticate into `wanted`; an unexpected field is kept as received."""
    wanted.card_id = fields.fitting_text(d1.AuthenticationRequest.CARD_ID, max_length=MAX_TEXT_LENGTH)
    transaction = fields.fitting_nested(d1.AuthenticationRequest.TRANSACTION)
    if transaction is not None:
        parse_transaction(transaction, wanted.transaction)
    if fields:
        fields.rest_into(wanted.unrecognized)


def reference_body(started: replies_pb2.AuthenticateConsumerResponse) -> dict[str, str]:
    """Return the response body for a started authentication."""
    return {d1.AuthenticationReference.AUTHENTICATION_ID: started.authentication_id}


def result_body(authentication_id: str, result: authentication.AuthenticationResult) -> dict[str, str]:
    """Return the response body for the state of an authentication."""
    body = {
        d1.AuthenticationResult.AUTHENTICATION_ID: authentication_id,
        d1.AuthenticationResult.STATUS: _word(result.status),
    }
    return body | ({d1.AuthenticationResult.ERROR: result.error} if result.error else {})


def _word(status: "authentication.AuthenticationStatus.ValueType") -> str:
    """Return D1's word for a status: the enum value's name without prefix."""
    return authentication.AuthenticationStatus.Name(status).removeprefix("AUTHENTICATION_STATUS_")
