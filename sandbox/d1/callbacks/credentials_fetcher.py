"""D1 requests the data of a card renewed or replaced without them (D1 API: get card credentials)."""

import asyncio
from collections.abc import Mapping

from joserfc.jwk import ECKey

from sandbox.common.fields import InvalidFieldError
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.edge_client import EdgeClient, LostError, NotDeliveredError
from sandbox.d1.callbacks.requests import BadReplyError, CallbackError, CallbackRequests
from sandbox.d1.model import contract
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.notification import new_operation_id
from sandbox.d1.model.store import CardStore

__all__ = ["CredentialsFetcher"]


class CredentialsFetcher:
    """Fetches card data in the background, with retries."""

    def __init__(self, store: CardStore, edge: EdgeClient, keys: Mapping[str, ECKey], background: Background) -> None:
        self._store = store
        self._edge = edge
        self._keys = keys
        self._background = background

    def fetch(self, card_id: str) -> None:
        """Start fetching a card's data, shortly after the response to the call that left them out."""
        self._background.start(self._run(card_id), f"credentials of {card_id}")

    async def _run(self, card_id: str) -> None:
        await asyncio.sleep(contract.CREDENTIALS_DELAY_SECONDS)
        requests = CallbackRequests(self._edge, self._keys, new_operation_id(), [])
        for attempt in range(contract.CREDENTIALS_ATTEMPTS):
            if not self._wanted(card_id):
                return
            try:
                await self._once(requests, card_id)
            except (NotDeliveredError, CallbackError) as error:
                if isinstance(error, LostError) or attempt == contract.CREDENTIALS_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(contract.BACKOFF_SECONDS * 2**attempt)
            else:
                return

    async def _once(self, requests: CallbackRequests, card_id: str) -> None:
        credentials = await requests.card_credentials(card_id)
        if not self._wanted(card_id):
            return
        try:
            self._store.supply(card_id, credentials)
        except (D1Error, InvalidFieldError):
            raise BadReplyError("The card number is not one that this card can have") from None

    def _wanted(self, card_id: str) -> bool:
        # Meanwhile the card may have been renewed with its data, renewed under another id, or deleted.
        try:
            return self._store.card(card_id).awaits_credentials
        except D1Error:
            return False
