"""D1's card endpoints: they check requests against the contract and call the store."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import web
from joserfc.jwk import ECKey

from sandbox.common.fields import InvalidFormatError, optional_choice, optional_text, text
from sandbox.d1.api.requests import check_envelope, json_body
from sandbox.d1.model import contract
from sandbox.d1.model.contract import InitialState, Operation, ResumeReason, SuspendReason
from sandbox.d1.model.errors import forbidden
from sandbox.d1.model.issuers import Issuers
from sandbox.d1.model.jwe import decrypt_card_data
from sandbox.d1.model.store import Card, CardDetails, CardStore, Credentials

__all__ = ["CardEndpoints"]

_Reason = TypeVar("_Reason", SuspendReason, ResumeReason)


class CardEndpoints:
    """The card endpoints. Fields outside the contract are ignored."""

    def __init__(
        self, issuers: Issuers, store: CardStore, keys: Mapping[str, ECKey], fetch: Callable[[str], None]
    ) -> None:
        """Serve a store's cards.

        Args:
            issuers: The cards' issuers.
            store: The cards.
            keys: D1's private keys for card data, by ``kid``.
            fetch: Starts fetching a card's data from the issuer; takes the card's id.
        """
        self._issuers = issuers
        self._store = store
        self._keys = keys
        self._fetch = fetch

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each named after its operation."""
        lifecycle = {
            Operation.RENEW_CARD: self._renew,
            Operation.REPLACE_CARD: self._replace,
            Operation.DELETE_CARD: self._delete,
            Operation.SUSPEND_CARD: self._suspend,
            Operation.RESUME_CARD: self._resume,
        }
        return [
            web.post(contract.CARDS_PATH, self._create, name=Operation.CREATE_CARD.value),
            web.put(contract.CARD_PATH, self._register, name=Operation.REGISTER_CARD.value),
            *(
                web.post(contract.CARD_PATH + contract.OPERATIONS[operation], handler, name=operation.value)
                for operation, handler in lifecycle.items()
            ),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        check_envelope(request, self._issuers)
        body = await json_body(request)
        details = _details(body)
        _check_accounts(body)
        card = self._store.create(details)
        return web.json_response({"cardId": card.card_id}, status=contract.STATUS_CARD_CREATED)

    async def _register(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        body = await json_body(request)
        details = _details(body)
        encrypted = text(body, "encryptedData", contract.ENCRYPTED_DATA)
        credentials = decrypt_card_data(encrypted, self._keys)
        self._store.register(card_id, replace(details, credentials=credentials))
        return _done()

    async def _renew(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        body = await json_body(request)
        optional_text(body, "reason", contract.REASON)
        optional_text(body, "reasonCode", contract.REASON_CODE)
        return self._reissue(self._store.renew, card_id, body)

    async def _replace(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        body = await json_body(request)
        optional_text(body, "reason", contract.REASON)
        text(body, "reasonCode", contract.REASON_CODE)
        return self._reissue(self._store.replace, card_id, body)

    async def _delete(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        body = await json_body(request)
        optional_text(body, "reason", contract.REASON)
        text(body, "reasonCode", contract.REASON_CODE)
        self._store.delete(card_id)
        return _done()

    async def _suspend(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        body = await json_body(request)
        optional_text(body, "reason", contract.REASON)
        self._store.suspend(card_id, _reason_code(body, SuspendReason))
        return _done()

    async def _resume(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        body = await json_body(request)
        optional_text(body, "reason", contract.REASON)
        self._store.resume(card_id, _reason_code(body, ResumeReason))
        return _done()

    def _card_id(self, request: web.Request) -> str:
        check_envelope(request, self._issuers)
        return text(request.match_info, "cardId", contract.CARD_ID)

    def _reissue(
        self,
        step: Callable[[str, Credentials | None, str | None], Card],
        card_id: str,
        body: Mapping[str, Any],
    ) -> web.Response:
        credentials = self._credentials(body)
        new_card_id = optional_text(body, "newCardId", contract.CARD_ID)
        following = step(card_id, credentials, new_card_id)
        if following.awaits_credentials:
            self._fetch(following.card_id)
        if following.created_by_d1:
            return web.json_response({"cardId": following.card_id}, status=contract.STATUS_CARD_FOLLOWED)
        return _done()

    def _credentials(self, body: Mapping[str, Any]) -> Credentials | None:
        encrypted = optional_text(body, "encryptedData", contract.ENCRYPTED_DATA)
        return None if encrypted is None else decrypt_card_data(encrypted, self._keys)


def _reason_code(body: Mapping[str, Any], known: type[_Reason]) -> _Reason:
    code = text(body, "reasonCode", contract.REASON_CODE)
    try:
        return known(code)
    except ValueError:
        raise forbidden("This reason code is not allowed") from None


def _details(body: Mapping[str, Any]) -> CardDetails:
    return CardDetails(
        consumer_id=text(body, "consumerId", contract.CONSUMER_ID),
        product_id=text(body, "cardProductId", contract.CARD_PRODUCT_ID),
        initial_state=optional_choice(body, "state", InitialState) or InitialState.ACTIVE,
        name_on_card=optional_text(body, "nameOnCard", contract.NAME_ON_CARD),
        second_name_on_card=optional_text(body, "secondNameOnCard", contract.NAME_ON_CARD),
    )


def _check_accounts(body: Mapping[str, Any]) -> None:
    accounts = body.get("accounts")
    if not isinstance(accounts, list) or not accounts:
        raise InvalidFormatError("accounts")
    for account in accounts:
        if not isinstance(account, dict):
            raise InvalidFormatError("accounts")
        if not isinstance(account.get("default"), bool):
            raise InvalidFormatError("default")
        optional_text(account, "type")
        text(account, "number")
        text(account, "currencyCode", contract.CURRENCY_CODE)


def _done() -> web.Response:
    return web.Response(status=contract.STATUS_CARD_DONE)
