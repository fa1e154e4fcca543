"""What D1 asks about a card that was renewed or replaced without its credentials (D1 API: outbound card API)."""

from collections.abc import Container

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.dispatcher import CallbackDispatcher, CallbackPolicy
from adapters.d1.callbacks.fields import CARD_ID
from adapters.d1.callbacks.request import id_in_path, issuer_in_path
from gateway.edge.responses import json_response
from gateway.ports import CardDataEncryption
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import questions_pb2

__all__ = ["CardCredentialsCallback"]


class CardCredentialsCallback:
    """Passes it on to handlers, and encrypts what they know in clear."""

    def __init__(
        self,
        issuers: Container[str],
        dispatcher: CallbackDispatcher,
        encryption: CardDataEncryption,
        policy: CallbackPolicy,
    ) -> None:
        """Prepare.

        Args:
            issuers: Whose cards they are.
            dispatcher: Asks the handlers.
            encryption: Encrypts for D1.
            policy: The policy of the question.
        """
        self._issuers = issuers
        self._dispatcher = dispatcher
        self._encryption = encryption
        self._policy = policy

    def routes(self) -> list[web.RouteDef]:
        """Return the path and the handler of each callback."""
        return [web.get(d1.CARD_CREDENTIALS_PATH, self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """UpstreamResponse with a card's credentials, encrypted.

        Raises:
            HttpError: No handler answers, or it refuses; or the ids are not right.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        asked = questions_pb2.CardCredentialsRequest(card_id=id_in_path(request, "cardId", CARD_ID))
        question = callback.Question(issuer_id=issuer_id, card_credentials=asked)
        credentials = (await self._dispatcher.ask(question, self._policy)).card_credentials
        encrypted = (
            self._encryption.encrypt(issuer_id, credentials.details)
            if credentials.WhichOneof("card_data") == "details"
            else credentials.encrypted_data
        )
        return json_response(d1.CARD_CREDENTIALS_STATUS, {d1.CardCredentials.ENCRYPTED_DATA: encrypted})
