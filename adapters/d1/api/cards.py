"""The card life cycle at D1 (D1 API: card API v2), behind the port `gateway.ports.CardIssuer`."""

from typing import TypeVar

from adapters.d1.api import endpoints
from adapters.d1.api.client import D1Client
from adapters.d1.api.endpoints import DEFAULT_REASON_CODE, FIELDS, body, word
from adapters.d1.api.errors import contract_broken
from adapters.d1.api.jwe import encrypt_credentials
from adapters.d1.callbacks.fields import CARD_ID, Fields
from adapters.d1.callbacks.misfits import Misfits
from adapters.http.response import UpstreamResponse
from gateway.formats.json_input import fill_struct
from gateway.ports import Call
from gateway.ports.meter import Unmeasured, UpstreamMeter
from issuer.card.v1 import messages_pb2 as card

__all__ = ["D1CardIssuer"]

_Successor = TypeVar("_Successor", card.RenewCardResponse, card.ReplaceCardResponse)


class D1CardIssuer:
    """Cards at D1; `gateway.ports.CardIssuer` documents each method and its errors."""

    def __init__(self, client: D1Client, meter: UpstreamMeter = Unmeasured()) -> None:  # noqa: B008  without state
        self._client = client
        self.misfits = Misfits(meter)
        """Counts and logs what D1 sends in another form."""

    async def create_card(self, request: card.CreateCardRequest, call: Call) -> card.CreateCardResponse:
        """Create a card. Not idempotent."""
        content = body(
            consumer_id=request.consumer_id,
            card_product_id=request.card_product_id,
            state=word(card.InitialCardState.Name(request.state), "INITIAL_CARD_STATE_"),
            accounts=[
                # D1 requires `default` even if it is false.
                body(
                    default=account.is_default,
                    type=account.type,
                    number=account.number,
                    currency_code=account.currency_code,
                )
                for account in request.accounts
            ],
            name_on_card=request.name_on_card,
            second_name_on_card=request.second_name_on_card,
        )
        response = await self._client.call(endpoints.CREATE_CARD, call, content, user_id=request.user_id)
        created = response.json_object() or {}
        card_id = created.pop(FIELDS["card_id"], None)
        if not isinstance(card_id, str) or not CARD_ID.fullmatch(card_id):
            raise contract_broken("D1's response names no card. A card may have been created.", status=response.status)
        reply = card.CreateCardResponse(card_id=card_id)
        if created:
            fill_struct(reply.unrecognized, created)
        return reply

    async def register_card(self, request: card.RegisterCardRequest, call: Call) -> card.RegisterCardResponse:
        """Register a card under the caller's id. Idempotent."""
        content = body(
            consumer_id=request.consumer_id,
            card_product_id=request.card_product_id,
            state=word(card.InitialCardState.Name(request.state), "INITIAL_CARD_STATE_"),
            name_on_card=request.name_on_card,
            second_name_on_card=request.second_name_on_card,
            encrypted_data=self._card_data(request, call),
        )
        await self._client.call(
            endpoints.REGISTER_CARD, call, content, user_id=request.user_id, card_id=request.card_id
        )
        return card.RegisterCardResponse()

    async def renew_card(self, request: card.RenewCardRequest, call: Call) -> card.RenewCardResponse:
        """Renew a card with a new expiry, and optionally a new id."""
        content = body(
            reason=request.reason,
            reason_code=request.reason_code or DEFAULT_REASON_CODE,
            new_card_id=request.new_card_id,
            encrypted_data=self._card_data(request, call),
        )
        response = await self._client.call(
            endpoints.RENEW_CARD, call, content, user_id=request.user_id, card_id=request.card_id
        )
        return self._read("renewed_card", response, card.RenewCardResponse())

    async def replace_card(self, request: card.ReplaceCardRequest, call: Call) -> card.ReplaceCardResponse:
        """Replace a card with one that has a new PAN."""
        content = body(
            reason=request.reason,
            reason_code=request.reason_code,
            new_card_id=request.new_card_id,
            encrypted_data=self._card_data(request, call),
        )
        response = await self._client.call(
            endpoints.REPLACE_CARD, call, content, user_id=request.user_id, card_id=request.card_id
        )
        return self._read("replaced_card", response, card.ReplaceCardResponse())

    async def delete_card(self, request: card.DeleteCardRequest, call: Call) -> card.DeleteCardResponse:
        """Delete a card permanently."""
        content = body(reason=request.reason, reason_code=request.reason_code)
        await self._client.call(endpoints.DELETE_CARD, call, content, user_id=request.user_id, card_id=request.card_id)
        return card.DeleteCardResponse()

    async def suspend_card(self, request: card.SuspendCardRequest, call: Call) -> card.SuspendCardResponse:
        """Suspend an active card."""
        content = body(reason=request.reason, reason_code=request.reason_code)
        await self._client.call(endpoints.SUSPEND_CARD, call, content, user_id=request.user_id, card_id=request.card_id)
        return card.SuspendCardResponse()

    async def resume_card(self, request: card.ResumeCardRequest, call: Call) -> card.ResumeCardResponse:
        """Resume a suspended card."""
        content = body(reason=request.reason, reason_code=request.reason_code)
        await self._client.call(endpoints.RESUME_CARD, call, content, user_id=request.user_id, card_id=request.card_id)
        return card.ResumeCardResponse()

    def _read(self, message: str, response: UpstreamResponse, successor: _Successor) -> _Successor:
        """Read the id of the card that follows. D1 has made the change, so an id that cannot be used is a misfit."""
        fields = Fields(response.json_object() or {})
        successor.card_id = fields.fitting_identifier(FIELDS["card_id"], CARD_ID)
        self.misfits.report(message, fields)
        if fields:
            fields.rest_into(successor.unrecognized)
        return successor

    def _card_data(
        self, request: card.RegisterCardRequest | card.RenewCardRequest | card.ReplaceCardRequest, call: Call
    ) -> str:
        """Return the card data encrypted, by the caller or here; empty if the request has none."""
        if request.WhichOneof("card_data") == "credentials":
            return encrypt_credentials(request.credentials, self._client.keys(call.issuer_id).d1_encryption_key)
        return request.encrypted_data
