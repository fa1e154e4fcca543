"""D1's cards and their life cycle (D1 API: manage card life cycle, register cards). Independent of HTTP."""

import base64
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.common.fields import InvalidValueError
from sandbox.common.state import State
from sandbox.d1.model.contract import CardProduct, CardState, InitialState, ResumeReason, SuspendReason
from sandbox.d1.model.errors import forbidden, not_found, not_reusable
from sandbox.d1.model.personal import PersonalInformation

__all__ = ["Card", "CardDetails", "CardStore", "Credentials"]

_LIVE = frozenset({CardState.ACTIVE, CardState.INACTIVE, CardState.SUSPENDED})

_OWN_BIN = "999999"
"""How the PANs that D1 makes begin."""

_LIFTED_BY = {
    SuspendReason.CARD_LOST: frozenset({ResumeReason.CARD_FOUND}),
    SuspendReason.USER_DECISION: frozenset({ResumeReason.USER_DECISION, ResumeReason.ISSUER_DECISION}),
    SuspendReason.ISSUER_DECISION: frozenset({ResumeReason.ISSUER_DECISION}),
}
"""The reasons that lift each suspension. Suspensions not listed last until the card is replaced."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is printed on a card. Its repr shows none of it."""

    pan: str = field(repr=False)
    expiry: str = field(repr=False)
    """MMYY."""


@dataclass(frozen=True, slots=True)
class CardDetails:
    """The issuer's data of a card at creation or registration."""

    consumer_id: str
    product_id: str
    initial_state: InitialState
    name_on_card: str | None = field(default=None, repr=False)
    second_name_on_card: str | None = field(default=None, repr=False)
    credentials: Credentials | None = None
    """None while D1 waits for them."""


@dataclass(frozen=True, slots=True)
class Card:
    """The current state of a card."""

    card_id: str
    details: CardDetails
    state: CardState
    created_by_d1: bool
    """Whether the card was created with Create card, not registered."""
    suspended_for: SuspendReason | None = None
    awaits_credentials: bool = False
    """Whether it was renewed or replaced without card data, which D1 then requests from the issuer."""

    def shown(self) -> dict[str, Any]:
        """Return the card as the control API shows it: without its number."""
        return {
            "cardId": self.card_id,
            "consumerId": self.details.consumer_id,
            "cardProductId": self.details.product_id,
            "state": self.state.value,
            "suspendedFor": self.suspended_for,
            "createdByD1": self.created_by_d1,
            "awaitsCredentials": self.awaits_credentials,
        }


@dataclass(frozen=True, slots=True)
class _Consumer:
    personal_information: PersonalInformation | None = None
    """None if D1 holds no personal data."""


class CardStore:
    """The cards and consumers of one issuer.

    Its methods raise `sandbox.d1.model.errors.D1Error` where a rule forbids the step, and
    `sandbox.common.fields.InvalidValueError` where a field has an impossible value.
    """

    def __init__(self, products: Iterable[CardProduct], state: State) -> None:
        self._products = {product.product_id: product for product in products}
        self._state = state
        self._consumers = state.table("consumers", _Consumer)
        self._cards = state.table("cards", Card)
        self._kept_pans = state.table("used_pans", str)
        self._used_pans = set(self._kept_pans.values())
        """The same, to look up."""
        self._pans_made = sum(pan.startswith(_OWN_BIN) for pan in self._used_pans)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep all changes of the block, or none if it raises an error; see `State.together`."""
        try:
            with self._state.together():
                yield
        except BaseException:
            self._used_pans = set(self._kept_pans.values())
            raise

    def cards(self) -> tuple[Card, ...]:
        """Return all cards, oldest first."""
        return tuple(self._cards.values())

    def card(self, card_id: str) -> Card:
        """Return a card."""
        try:
            return self._cards[card_id]
        except KeyError:
            raise not_found("Card") from None

    def consumer_ids(self) -> tuple[str, ...]:
        """Return the ids of all consumers, oldest first."""
        return tuple(self._consumers)

    def add_consumer(self, consumer_id: str) -> None:
        """Register a consumer, unless registered."""
        self._consumers.setdefault(consumer_id, _Consumer())

    def register_consumer(self, consumer_id: str, personal_information: PersonalInformation | None) -> None:
        """Register or update a consumer; None if D1 holds no personal data."""
        self._consumers[consumer_id] = _Consumer(personal_information)

    def personal_information(self, consumer_id: str) -> PersonalInformation | None:
        """Return the personal data of a consumer, if any."""
        try:
            return self._consumers[consumer_id].personal_information
        except KeyError:
            raise not_found("Consumer") from None

    def delete_consumer(self, consumer_id: str) -> None:
        """Delete a consumer and all its cards."""
        self.personal_information(consumer_id)
        with self.together():
            del self._consumers[consumer_id]
            for card in self.cards():
                if card.details.consumer_id == consumer_id and card.state in _LIVE:
                    self._retire(card, CardState.DELETED)

    def create(self, details: CardDetails) -> Card:
        """Create a card with D1's own PAN and id."""
        self._product(details)
        if details.consumer_id not in self._consumers:
            raise not_found("Consumer")
        return self._put(
            Card(
                _new_card_id(),
                replace(details, credentials=self._new_credentials()),
                CardState(details.initial_state),
                created_by_d1=True,
            )
        )

    def register(self, card_id: str, details: CardDetails) -> None:
        """Register a card. Repeating it has no effect; with another consumer, the card moves to that one."""
        if not self._product(details).registers:
            raise forbidden("Cards of this product are not registered")
        present = self._cards.get(card_id)
        if present is not None and present.state in _LIVE:
            if present.details != replace(details, consumer_id=present.details.consumer_id):
                raise not_reusable("Card id is in use")
            card = replace(present, details=details)
        else:
            self._check_card_id(card_id)
            self._check_pan(details.credentials)
            card = Card(card_id, details, CardState(details.initial_state), created_by_d1=False)
        with self.together():
            self._put(card)
            self.add_consumer(details.consumer_id)

    def renew(self, card_id: str, credentials: Credentials | None, new_card_id: str | None) -> Card:
        """Give a card a new expiry and, optionally, a new id; its state stays."""
        card = self._live(card_id)
        known = card.details.credentials
        self._check_credentials(card, credentials)
        renewed = replace(
            card,
            card_id=new_card_id or card_id,
            details=replace(card.details, credentials=credentials or known),
            awaits_credentials=credentials is None and not card.created_by_d1,
        )
        if renewed.card_id == card_id:
            return self._put(renewed)
        self._check_card_id(renewed.card_id)
        with self.together():
            del self._cards[card_id]
            return self._put(renewed)

    def replace(self, card_id: str, credentials: Credentials | None, new_card_id: str | None) -> Card:
        """Replace a card by an active one with a new PAN, under a new id or the old one.

        The successor of a card that D1 created always has a new id, and a PAN of D1's own unless there is another.
        """
        card = self._live(card_id)
        if card.created_by_d1:
            credentials, new_card_id = credentials or self._new_credentials(), new_card_id or _new_card_id()
        successor = Card(
            new_card_id or card_id,
            replace(card.details, credentials=credentials),
            CardState.ACTIVE,
            card.created_by_d1,
            awaits_credentials=credentials is None,
        )
        self._check_pan(credentials)
        if successor.card_id != card_id:
            self._check_card_id(successor.card_id)
        with self.together():
            self._retire(card, CardState.REPLACED)
            return self._put(successor)

    def supply(self, card_id: str, credentials: Credentials) -> None:
        """Set the data that a card was renewed or replaced without."""
        card = self._live(card_id)
        self._check_credentials(card, credentials)
        self._put(replace(card, details=replace(card.details, credentials=credentials), awaits_credentials=False))

    def delete(self, card_id: str) -> None:
        """Delete a card."""
        self._retire(self._live(card_id), CardState.DELETED)

    def suspend(self, card_id: str, reason: SuspendReason) -> None:
        """Suspend an active card."""
        card = self.card(card_id)
        if card.state is not CardState.ACTIVE:
            raise forbidden("Card is not active")
        self._cards[card_id] = replace(card, state=CardState.SUSPENDED, suspended_for=reason)

    def resume(self, card_id: str, reason: ResumeReason) -> None:
        """Resume a suspended card, if the reason lifts that suspension."""
        card = self.card(card_id)
        if card.suspended_for is None:
            raise forbidden("Card is not suspended")
        if reason not in _LIFTED_BY.get(card.suspended_for, ()):
            raise forbidden("This reason does not lift the suspension")
        self._cards[card_id] = replace(card, state=CardState.ACTIVE, suspended_for=None)

    def _product(self, details: CardDetails) -> CardProduct:
        try:
            return self._products[details.product_id]
        except KeyError:
            raise InvalidValueError("cardProductId") from None

    def _live(self, card_id: str) -> Card:
        card = self.card(card_id)
        if card.state not in _LIVE:
            raise forbidden("Card is replaced or deleted")
        return card

    def _check_card_id(self, card_id: str) -> None:
        present = self._cards.get(card_id)
        if present is None:
            return
        transacts = self._products[present.details.product_id].transacts
        if present.state in _LIVE or present.created_by_d1 or transacts:
            raise not_reusable("Card id is in use or may not be used again")

    def _check_credentials(self, card: Card, credentials: Credentials | None) -> None:
        known = card.details.credentials
        if known is None:
            self._check_pan(credentials)
        elif credentials is not None and credentials.pan != known.pan:
            raise InvalidValueError("encryptedData")

    def _check_pan(self, credentials: Credentials | None) -> None:
        # The PAN of a deleted or replaced card is never reused.
        if credentials is not None and credentials.pan in self._used_pans:
            raise not_reusable("Card number is in use or may not be used again")

    def _put(self, card: Card) -> Card:
        credentials = card.details.credentials
        with self.together():
            self._cards[card.card_id] = card
            if credentials is not None and credentials.pan not in self._used_pans:
                self._kept_pans[str(len(self._kept_pans))] = credentials.pan
                self._used_pans.add(credentials.pan)
        return card

    def _retire(self, card: Card, state: CardState) -> None:
        self._cards[card.card_id] = replace(card, state=state, suspended_for=None, awaits_credentials=False)

    def _new_credentials(self) -> Credentials:
        self._pans_made += 1
        return Credentials(pan=f"{_OWN_BIN}{self._pans_made:010d}", expiry="1299")


def _new_card_id() -> str:
    return "crd_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
