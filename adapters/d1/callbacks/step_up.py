"""Step-up authentication: the issuer authenticates a consumer, and D1 polls for the result (D1 API: OOB flow)."""

from collections.abc import Container

import structlog
from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.dispatcher import CallbackDispatcher, NoReplyError
from adapters.d1.callbacks.fields import CONSUMER_ID, OPERATION_ID, Fields
from adapters.d1.callbacks.request import MAX_TEXT_LENGTH, id_in_path, issuer_in_path, parse_transaction, read_fields
from gateway.edge.responses import json_response
from gateway.errors import GatewayError
from gateway.ports import AuthenticationResultStore
from gateway.settings import CallbackPolicySettings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import requests_pb2
from issuer.consumer.v1 import authentication_pb2 as authentication

__all__ = ["StepUpCallbacks"]

_log = structlog.get_logger(__name__)


class StepUpCallbacks:
    """Passes both callbacks to handlers; responds to polls from the stored results if possible."""

    def __init__(
        self,
        issuers: Container[str],
        dispatcher: CallbackDispatcher,
        results: AuthenticationResultStore,
        *,
        authenticate: CallbackPolicySettings,
        result: CallbackPolicySettings,
        pending_without_reply: bool,
    ) -> None:
        """Initialise; with `pending_without_reply`, a poll without a handler's reply gets the response pending."""
        self._issuers = issuers
        self._dispatcher = dispatcher
        self._results = results
        self._authenticate = authenticate
        self._result = result
        self._pending_without_reply = pending_without_reply

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.post(d1.AUTHENTICATE_PATH, self.post), web.get(d1.AUTHENTICATION_RESULT_PATH, self.get_result)]

    async def post(self, request: web.Request) -> web.Response:
        """Begin an authentication, and respond with its id.

        Raises:
            HttpError: The request is malformed, no handler replies, or the handler declines.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        wanted = requests_pb2.AuthenticateConsumerRequest(consumer_id=id_in_path(request, "consumerId", CONSUMER_ID))
        _parse(await read_fields(request), wanted)
        reply = await self._dispatcher.ask(
            callback.CallbackRequest(issuer_id=issuer_id, authenticate=wanted), self._authenticate
        )
        return json_response(
            d1.AUTHENTICATE_STATUS, {d1.AuthenticationReference.AUTHENTICATION_ID: reply.authenticate.authentication_id}
        )

    async def get_result(self, request: web.Request) -> web.Response:
        """Respond with the state of an authentication. A final result is the same for every poll.

        Raises:
            HttpError: An id is malformed, the handler declines, or no handler replies and that does not mean pending.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        consumer_id = id_in_path(request, "consumerId", CONSUMER_ID)
        authentication_id = id_in_path(request, "authenticationId", OPERATION_ID)
        result = await self._stored(issuer_id, consumer_id, authentication_id)
        if result is None:
            wanted = requests_pb2.AuthenticationResultRequest(
                consumer_id=consumer_id, authentication_id=authentication_id
            )
            result = await self._ask(callback.CallbackRequest(issuer_id=issuer_id, authentication_result=wanted))
        body = {
            d1.AuthenticationResult.AUTHENTICATION_ID: authentication_id,
            d1.AuthenticationResult.STATUS: _word(result.status),
        }
        if result.error:
            body[d1.AuthenticationResult.ERROR] = result.error
        return json_response(d1.AUTHENTICATION_RESULT_STATUS, body)

    async def _stored(
        self, issuer_id: str, consumer_id: str, authentication_id: str
    ) -> authentication.AuthenticationResult | None:
        try:
            return await self._results.find(issuer_id, consumer_id, authentication_id)
        except GatewayError as error:
            # A handler may know the result, and D1 polls again.
            _log.warning("authentication_result_not_read", reason=error.reason_name)
            return None

    async def _ask(self, request: callback.CallbackRequest) -> authentication.AuthenticationResult:
        wanted = request.authentication_result
        try:
            # D1 polls again soon, so there is no need to wait for a handler.
            reply = await self._dispatcher.ask(request, self._result, wait_for_handler=False)
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
        return await self._results.settle(request.issuer_id, wanted.consumer_id, result)


def _parse(fields: Fields, wanted: requests_pb2.AuthenticateConsumerRequest) -> None:
    wanted.card_id = fields.fitting_text(d1.AuthenticationRequest.CARD_ID, max_length=MAX_TEXT_LENGTH)
    transaction = fields.fitting_nested(d1.AuthenticationRequest.TRANSACTION)
    if transaction is not None:
        parse_transaction(transaction, wanted.transaction)
    if fields:
        fields.rest_into(wanted.unrecognized)


def _word(status: "authentication.AuthenticationStatus.ValueType") -> str:
    """Return D1's word for a status: the enum value's name without prefix."""
    return authentication.AuthenticationStatus.Name(status).removeprefix("AUTHENTICATION_STATUS_")
