"""D1's callback for the credentials of a renewed or replaced card (D1 API: outbound card API)."""

from collections.abc import Container

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.dispatcher import CallbackDispatcher
from adapters.d1.callbacks.fields import CARD_ID
from adapters.d1.callbacks.request import id_in_path, issuer_in_path
from gateway.edge.responses import json_response
from gateway.ports import CardDataEncryption
from gateway.settings import CallbackPolicySettings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import requests_pb2

__all__ = ["CardCredentialsCallback"]


class CardCredentialsCallback:
    """Passes the callback to a handler, and encrypts credentials that the handler returns in clear."""

    def __init__(
        self,
        issuers: Container[str],
        dispatcher: CallbackDispatcher,
        encryption: CardDataEncryption,
        policy: CallbackPolicySettings,
    ) -> None:
        self._issuers = issuers
        self._dispatcher = dispatcher
        self._encryption = encryption
        self._policy = policy

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(d1.CARD_CREDENTIALS_PATH, self.get, allow_head=False)]

    async def get(self, request: web.Request) -> web.Response:
        """Respond with a card's credentials, encrypted.

        Raises:
            HttpError: An id is malformed, no handler replies, or the handler declines.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        wanted = requests_pb2.CardCredentialsRequest(card_id=id_in_path(request, "cardId", CARD_ID))
        reply = await self._dispatcher.ask(
            request, callback.CallbackRequest(issuer_id=issuer_id, card_credentials=wanted), self._policy
        )
        credentials = reply.card_credentials
        encrypted = (
            self._encryption.encrypt(issuer_id, credentials.details)
            if credentials.WhichOneof("card_data") == "details"
            else credentials.encrypted_data
        )
        return json_response(d1.CARD_CREDENTIALS_STATUS, {d1.CardCredentials.ENCRYPTED_DATA: encrypted})
