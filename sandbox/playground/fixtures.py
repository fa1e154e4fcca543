"""The cards, consumers and authenticators that a sandbox begins with, from a JSON file.

Consumers and cards are written as the contract's RegisterConsumerRequest and RegisterCardRequest.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from sandbox.common.fields import InvalidFieldError
from sandbox.d1.model import contract
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import CardDetails, CardStore, Credentials
from sandbox.playground.errors import PlaygroundError
from sandbox.sandbox import PRODUCTS, Sandbox

__all__ = ["SAMPLE", "Fixtures"]

SAMPLE: Final = Path(__file__).with_name("fixtures.json")
"""What a sandbox begins with if nothing else is given."""

_PRODUCTS: Final = tuple(product.product_id for product in PRODUCTS if product.registers)


def _as(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _product(value: str) -> str:
    if value not in _PRODUCTS:
        raise ValueError(f"expected {' or '.join(_PRODUCTS)}")
    return value


_CardId = Annotated[str, _as(contract.CARD_ID, "1 to 48 characters of A-Z a-z 0-9 _ -")]
_ConsumerId = Annotated[str, _as(contract.CONSUMER_ID, "1 to 64 characters of A-Z a-z 0-9 _ -")]
_AppInstanceId = Annotated[str, _as(contract.APP_INSTANCE_ID, "1 to 64 characters of A-Z a-z 0-9 _ -")]
_Pan = Annotated[str, _as(contract.PAN, "10 to 19 digits")]
_Name = Annotated[str, _as(contract.NAME_ON_CARD, "at most 26 letters, blanks, dots and hyphens")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _D1Model(_Model):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _Phone(_D1Model):
    country_code: str
    phone_number: str


class _Address(_D1Model):
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    country_code: str | None = None


class _Person(_D1Model):
    language: str | None = None
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    title: str | None = None
    date_of_birth: str | None = None
    email: str | None = None
    mobile_phone_number: _Phone | None = None
    residency_address: _Address | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.to_d1()
        except InvalidFieldError as error:
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.field).lower()
            raise ValueError(f"{name} is missing or malformed") from None
        return self

    def to_d1(self) -> PersonalInformation:
        return PersonalInformation.of(self.model_dump(by_alias=True, exclude_none=True))


class _Consumer(_Model):
    consumer_id: _ConsumerId
    personal_information: _Person | None = None


class _Expiry(_Model):
    month: int = Field(ge=1, le=12)
    year: int = Field(ge=2000, le=2099)


class _Credentials(_Model):
    pan: _Pan
    expiry: _Expiry


class _Card(_Model):
    card_id: _CardId
    consumer_id: _ConsumerId
    card_product_id: Annotated[str, AfterValidator(_product)]
    credentials: _Credentials
    name_on_card: _Name | None = None

    def details(self) -> CardDetails:
        expiry = self.credentials.expiry
        return CardDetails(
            self.consumer_id,
            self.card_product_id,
            InitialState.ACTIVE,
            name_on_card=self.name_on_card,
            credentials=Credentials(self.credentials.pan, f"{expiry.month:02}{expiry.year % 100:02}"),
        )


class _Authenticator(_Model):
    consumer_id: _ConsumerId
    app_instance_id: _AppInstanceId


class Fixtures(_Model):
    """Cards, consumers and authenticators. Each has its own id, and each card its own number."""

    consumers: tuple[_Consumer, ...] = ()
    cards: tuple[_Card, ...] = ()
    authenticators: tuple[_Authenticator, ...] = ()

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file.

        Raises:
            PlaygroundError: It cannot be read, or does not fit; a line for each mistake, without its value.
        """
        try:
            fixtures = cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise PlaygroundError(f"--fixtures: {file}: {error.strerror}") from None
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            mistakes = [f"{_place(each['loc'])}: {each['msg'].removeprefix('Value error, ')}" for each in found]
        else:
            mistakes = list(_repetitions(fixtures))
            if not mistakes:
                return fixtures
        raise PlaygroundError(*(f"{file}: {mistake}" for mistake in mistakes))

    def register(self, sandbox: Sandbox) -> None:
        """Register consumers and cards at D1, except those that it knows: they may have changed since.

        Raises:
            PlaygroundError: A card cannot be registered, or an authenticator's consumer is unknown; a line for each.
                Nothing was registered, so that the mended file can change all of it.
        """
        with sandbox.store.together():
            mistakes = list(self._registered(sandbox.store))
            if mistakes:
                raise PlaygroundError(
                    *(f"--fixtures: {mistake}" for mistake in mistakes),
                    "nothing of the file was added: mend it, and start again",
                )

    def _registered(self, store: CardStore) -> Iterator[str]:
        """Register what D1 does not know; yield what it refuses."""
        for consumer in self.consumers:
            if not _knows(partial(store.personal_information, consumer.consumer_id)):
                person = consumer.personal_information
                store.register_consumer(consumer.consumer_id, None if person is None else person.to_d1())
        for number, card in enumerate(self.cards):
            if not _knows(partial(store.card, card.card_id)):
                try:
                    store.register(card.card_id, card.details())
                except D1Error as error:
                    yield f"cards[{number}]: {error.error}"
        for number, authenticator in enumerate(self.authenticators):
            if not _knows(partial(store.personal_information, authenticator.consumer_id)):
                yield f"authenticators[{number}].consumer_id: is no consumer"

    def enrol(self, sandbox: Sandbox) -> None:
        """Enrol the authenticators, except those that D1 knows. D1 notifies the gateway's edge, which must be set."""
        enrolled = sandbox.authenticators.all()
        for each in self.authenticators:
            if each.app_instance_id not in enrolled:
                sandbox.authenticators.enrol(each.consumer_id, each.app_instance_id)


def _repetitions(fixtures: Fixtures) -> Iterator[str]:
    ids: tuple[tuple[str, list[str]], ...] = (
        ("consumers[{}].consumer_id", [each.consumer_id for each in fixtures.consumers]),
        ("cards[{}].card_id", [each.card_id for each in fixtures.cards]),
        ("cards[{}].credentials.pan", [each.credentials.pan for each in fixtures.cards]),
        ("authenticators[{}].app_instance_id", [each.app_instance_id for each in fixtures.authenticators]),
    )
    for name, values in ids:
        for number, value in enumerate(values):
            if value in values[:number]:
                yield f"{name.format(number)}: is in the file twice"


def _knows(look: Callable[[], object]) -> bool:
    try:
        look()
    except D1Error:
        return False
    return True


def _place(location: Sequence[int | str]) -> str:
    place = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in location)
    return place.removeprefix(".") or "the file"
