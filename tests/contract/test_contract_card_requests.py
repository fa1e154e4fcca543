"""CardService: an invalid request is rejected before anything leaves the gateway."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from tests.contract.card_rpcs import RPCS, Rpc, changed, credentials
from tests.contract.d1_rpcs import refused_unsent
from tests.running import Running

_NAMES = ("A" * 27, "digit 1", "Jos\u00e9")
_IDS = ("has space", "slash/", "a" * 65, "\u00e9", "line\n")
_CODES = ("", "lower", "1ST", "A" * 65, "WITH-DASH")
_JWES = ("", "one.two.three", "a..b.c.", "a..b.c.d!", f"a..b.c.{'d' * 8192}")
_WRONG: dict[str, tuple[Any, ...]] = {
    "issuer_id": ("SHORT", "ELEVEN_CHAR"),
    "request_id": ("not-a-uuid",),
    "user_id": ("x" * 16, "first last"),
    "card_id": ("", "a" * 49, *_IDS),
    "consumer_id": ("", *_IDS),
    "card_product_id": ("", "a" * 49, *_IDS),
    "new_card_id": ("a" * 49, *_IDS),
    "state": (card.CARD_STATE_SUSPENDED, card.CARD_STATE_DELETED, 99),
    "reason": ("a" * 65, "no, punctuation", "\u00e9"),
    "name_on_card": _NAMES,
    "second_name_on_card": _NAMES,
    "encrypted_data": _JWES,
}
"""By field: values that every rpc rejects."""
_UNCONSTRAINED = ("accounts", "credentials")
"""Messages with constrained fields: they have their own tests."""


def _field_cases() -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Each rpc with the invalid values of each constrained field."""
    for rpc in RPCS.values():
        for field in rpc.request.DESCRIPTOR.fields:
            if field.name == "reason_code":
                yield rpc.name, field.name, _CODES if field.enum_type is None else (0, 99)
            elif field.name not in _UNCONSTRAINED:
                yield rpc.name, field.name, _WRONG[field.name]


def _wrong_credentials() -> list[tuple[str, card_data_pb2.CardCredentials]]:
    wrong = [("credentials.pan", credentials(pan)) for pan in ("", "123456789", "1" * 20, "4970 1012", "49701a1234")]
    wrong += [("credentials.expiry.month", credentials("4970101234567890", month=month)) for month in (0, 13)]
    wrong += [("credentials.expiry.year", credentials("4970101234567890", year=year)) for year in (31, 1999, 2100)]
    return [*wrong, ("credentials.expiry", card_data_pb2.CardCredentials(pan="4970101234567890"))]


def _account(**fields: Any) -> list[card.Account]:
    return [card.Account(**({"number": "1", "currency_code": "EUR"} | fields))]


async def _violates(running: Running, rpc: Rpc, request: Message) -> set[str]:
    failure = await refused_unsent(running, rpc, request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert all(failure.violations.values()), "a violation names no rule"
    return set(failure.violations)


@pytest.mark.parametrize(("name", "field", "values"), list(_field_cases()))
async def test_a_wrong_field_is_named(running: Running, name: str, field: str, values: tuple[Any, ...]) -> None:
    rpc = RPCS[name]
    for value in values:
        request = changed(rpc.request)
        setattr(request, field, value)
        assert await _violates(running, rpc, request) == {field}, value


@pytest.mark.parametrize("name", ["RegisterCard", "RenewCard", "ReplaceCard"])
async def test_a_wrong_part_of_the_credentials_is_named_and_not_repeated(running: Running, name: str) -> None:
    rpc = RPCS[name]
    for field, value in _wrong_credentials():
        failure = await refused_unsent(running, rpc, changed(rpc.request, credentials=value))
        assert set(failure.violations) == {field}
        assert not value.pan or value.pan not in repr(failure)


@pytest.mark.parametrize(
    ("field", "accounts"),
    [
        ("accounts", []),
        ("accounts", _account() * 33),
        ("accounts[0].number", _account(number="")),
        ("accounts[0].number", _account(number="1" * 65)),
        ("accounts[0].type", _account(type="x" * 65)),
        ("accounts[0].currency_code", _account(currency_code="")),
        ("accounts[0].currency_code", _account(currency_code="eur")),
        ("accounts[1].currency_code", _account() + _account(currency_code="EURO")),
    ],
)
async def test_a_wrong_account_is_named_with_its_place(
    running: Running, field: str, accounts: list[card.Account]
) -> None:
    rpc = RPCS["CreateCard"]
    request = changed(rpc.request, accounts=None)
    request.accounts.extend(accounts)
    assert await _violates(running, rpc, request) == {field}


async def test_registering_needs_card_data(running: Running) -> None:
    rpc = RPCS["RegisterCard"]
    assert await _violates(running, rpc, changed(rpc.request, credentials=None)) == {"card_data"}


@pytest.mark.parametrize("name", RPCS)
async def test_every_wrong_field_of_a_request_is_named(running: Running, name: str) -> None:
    rpc = RPCS[name]
    empty = type(rpc.request)(request_id="x", user_id="first last")
    required = {
        "CreateCard": {"consumer_id", "card_product_id", "accounts"},
        "RegisterCard": {"card_id", "consumer_id", "card_product_id", "card_data"},
        "RenewCard": {"card_id"},
        "ReplaceCard": {"card_id", "reason_code"},
        "DeleteCard": {"card_id", "reason_code"},
        "SuspendCard": {"card_id", "reason_code"},
        "ResumeCard": {"card_id", "reason_code"},
    }
    assert await _violates(running, rpc, empty) == {"request_id", "user_id"} | required[name]
