"""Step-up authentication: D1 has the issuer authenticate a consumer, then polls for the result (D1 API: OOB flow)."""

from collections.abc import Container

import structlog
from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.dispatcher import CallbackDispatcher, CallbackPolicy, NoReplyError
from adapters.d1.callbacks.fields import CONSUMER_ID, OPERATION_ID, Fields
from adapters.d1.callbacks.request import MOST_TEXT, id_in_path, issuer_in_path, parse_transaction, read_fields
from gateway.edge.responses import json_response
from gateway.errors import GatewayError
from gateway.ports import AuthenticationResultStore
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import questions_pb2
from issuer.consumer.v1 import authentication_pb2 as authentication

__all__ = ["StepUpCallbacks"]

_log = structlog.get_logger(__name__)


class StepUpCallbacks:
    """Passes both on to handlers, and answers polls from the results that are known."""

    def __init__(
        self,
        issuers: Container[str],
        dispatcher: CallbackDispatcher,
        results: AuthenticationResultStore,
        *,
        authenticate: CallbackPolicy,
        result: CallbackPolicy,
        pending_without_reply: bool,
    ) -> None:
        """Prepare.

        Args:
            issuers: Whose consumers are authenticated.
            dispatcher: Asks the handlers.
            results: The final results.
            authenticate: The policy of authentications.
            result: The policy of polls.
            pending_without_reply: Whether a poll that no handler answers is answered that the result is pending.
        """
        self._issuers = issuers
        self._dispatcher = dispatcher
        self._results = results
        self._authenticate = authenticate
        self._result = result
        self._pending_without_reply = pending_without_reply

    def routes(self) -> list[web.RouteDef]:
        """Return the path and the handler of each callback."""
        return [web.post(d1.AUTHENTICATE_PATH, self.post), web.get(d1.AUTHENTICATION_RESULT_PATH, self.get_result)]

    async def post(self, request: web.Request) -> web.Response:
        """Begin an authentication, and answer with its id.

        Raises:
            HttpError: No handler answers, or it refuses; or the request is not right.
            FieldError: A field nests too deep.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        wanted = questions_pb2.AuthenticateRequest(consumer_id=id_in_path(request, "consumerId", CONSUMER_ID))
        _parse(await read_fields(request), wanted)
        question = callback.Question(issuer_id=issuer_id, authenticate=wanted)
        reply = await self._dispatcher.ask(question, self._authenticate)
        return json_response(
            d1.AUTHENTICATE_STATUS, {d1.AuthenticationReference.AUTHENTICATION_ID: reply.authenticate.authentication_id}
        )

    async def get_result(self, request: web.Request) -> web.Response:
        """UpstreamResponse how an authentication stands. A final result is the same for every poll.

        Raises:
            HttpError: The handler refuses, or no handler answers and that is not to mean that the result is pending; or
                the ids are not right.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        consumer_id = id_in_path(request, "consumerId", CONSUMER_ID)
        authentication_id = id_in_path(request, "authenticationId", OPERATION_ID)
        result = await self._known(issuer_id, authentication_id)
        if result is None:
            asked = questions_pb2.AuthenticationResultRequest(
                consumer_id=consumer_id, authentication_id=authentication_id
            )
            result = await self._ask(callback.Question(issuer_id=issuer_id, authentication_result=asked))
        body = {
            d1.AuthenticationResult.AUTHENTICATION_ID: authentication_id,
            d1.AuthenticationResult.STATUS: _word(result.status),
        }
        if result.error:
            body[d1.AuthenticationResult.ERROR] = result.error
        return json_response(d1.AUTHENTICATION_RESULT_STATUS, body)

    async def _known(self, issuer_id: str, authentication_id: str) -> authentication.AuthenticationResult | None:
        try:
            return await self._results.find(issuer_id, authentication_id)
        except GatewayError as error:
            # A handler may know, and D1 polls again.
            _log.warning("authentication_result_not_read", reason=error.reason_name)
            return None

    async def _ask(self, question: callback.Question) -> authentication.AuthenticationResult:
        authentication_id = question.authentication_result.authentication_id
        try:
            # D1 polls again soon: no need to wait for a handler to connect.
            reply = await self._dispatcher.ask(question, self._result, wait_for_handler=False)
        except NoReplyError:
            if not self._pending_without_reply:
                raise
            return authentication.AuthenticationResult(status=authentication.AUTHENTICATION_STATUS_PENDING)
        told = reply.authentication_result
        result = authentication.AuthenticationResult(
            authentication_id=authentication_id, status=told.status, error=told.error
        )
        if told.status == authentication.AUTHENTICATION_STATUS_PENDING:
            return result
        return await self._results.settle(question.issuer_id, result)


def _parse(fields: Fields, wanted: questions_pb2.AuthenticateRequest) -> None:
    wanted.card_id = fields.fitting_text(d1.AuthenticationRequest.CARD_ID, max_length=MOST_TEXT)
    transaction = fields.fitting_nested(d1.AuthenticationRequest.TRANSACTION)
    if transaction is not None:
        parse_transaction(transaction, wanted.transaction)
    if fields:
        fields.rest_into(wanted.unrecognized)


def _word(status: "authentication.AuthenticationStatus.ValueType") -> str:
    """Return D1's word for a status, which is the value's name without the prefix."""
    return authentication.AuthenticationStatus.Name(status).removeprefix("AUTHENTICATION_STATUS_")
