"""Invalid requests of the rpcs that call D1: each is rejected before anything leaves the gateway."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from issuer.consumer.v1 import personal_information_pb2 as personal
from tests.contract.card_rpcs import RPCS, Rpc, changed, credentials
from tests.contract.d1_rpcs import D1_RPCS, refused_unsent
from tests.running import Failure, Running

_NAMES = ("A" * 27, "digit 1", "Jos\u00e9")
_IDS = ("has space", "slash/", "a" * 65, "\u00e9", "line\n")
_JWES = ("", "one.two.three", "a..b.c.", "a..b.c.d!", f"a..b.c.{'d' * 8192}")
_WRONG: dict[str, tuple[Any, ...]] = {
    "issuer_id": ("SHORT", "ELEVEN_CHAR"),
    "request_id": ("not-a-uuid",),
    "user_id": ("x" * 16, "first last"),
    "card_id": ("", "a" * 49, *_IDS),
    "consumer_id": ("", *_IDS),
    "card_product_id": ("", "a" * 49, *_IDS),
    "new_card_id": ("a" * 49, *_IDS),
    "app_instance_id": ("", "a/b"),
    "operation_id": ("", "../op-1"),
    # Any size is right: a larger one is reduced.
    "page_size": (),
    "page_token": ("A" * 513,),
    "state": (3, 99),
    "reason_code": ("lower", "1ST", "A" * 65, "WITH-DASH"),
    "reason": ("a" * 65, "no, punctuation", "It's gone", "\u00e9"),
    "name_on_card": _NAMES,
    "second_name_on_card": _NAMES,
    "encrypted_data": _JWES,
}
"""By field: values that every rpc rejects."""


def _account(**fields: Any) -> card.CardAccount:
    return card.CardAccount(**({"number": "1", "currency_code": "EUR"} | fields))


_PAN = "4970101234567890"
_WRONG_PARTS: dict[str, list[tuple[str, Any]]] = {
    "credentials": [
        *((".pan", credentials(pan)) for pan in ("", "123456789", "1" * 20, "4970 1012", "49701a1234")),
        *((".expiry.month", credentials(_PAN, month=month)) for month in (0, 13)),
        *((".expiry.year", credentials(_PAN, year=year)) for year in (31, 1999, 2100)),
        (".expiry", card_data_pb2.CardCredentials(pan=_PAN)),
    ],
    "accounts": [
        ("", []),
        ("", [_account()] * 33),
        ("[0].number", [_account(number="")]),
        ("[0].number", [_account(number="1" * 65)]),
        ("[0].type", [_account(type="x" * 65)]),
        ("[0].currency_code", [_account(currency_code="")]),
        ("[0].currency_code", [_account(currency_code="eur")]),
        ("[1].currency_code", [_account(), _account(currency_code="EURO")]),
    ],
    "personal_information": [
        (".language", personal.PersonalInformation(language="english")),
        (".first_name", personal.PersonalInformation(first_name="Zoë!")),
        (".first_name", personal.PersonalInformation(first_name="Zoe\u0308")),
        (".title", personal.PersonalInformation(title="x" * 41)),
        (".date_of_birth", personal.PersonalInformation(date_of_birth="25.01.1990")),
        (".email", personal.PersonalInformation(email="nowhere")),
    ],
}
"""By field: the path of what is wrong in it, and the value with it."""


def _wrong_values(rpc: Rpc) -> Iterator[tuple[str, str, Any]]:
    """Each constrained field of a request, the path of what is wrong with it, and a value."""
    for field in rpc.request.DESCRIPTOR.fields:
        if field.name in _WRONG_PARTS:
            yield from ((field.name, field.name + path, value) for path, value in _WRONG_PARTS[field.name])
        else:
            yield from ((field.name, field.name, value) for value in _WRONG[field.name])


def _texts(value: Any) -> list[str]:
    """Every text in a value."""
    if isinstance(value, Message):
        return [text for _, part in value.ListFields() for text in _texts(part)]
    return [value] if isinstance(value, str) and value else []


async def _refused(running: Running, rpc: Rpc, request: Message) -> Failure:
    failure = await refused_unsent(running, rpc, request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert all(failure.violations.values()), "a violation names no rule"
    unworded = [text for text in failure.descriptions.values() if "regex" in text or "in list" in text]
    assert unworded == [], "a description is not for people"
    return failure


@pytest.mark.parametrize("rpc", D1_RPCS.values(), ids=D1_RPCS.keys())
async def test_a_wrong_field_is_named_and_not_repeated(running: Running, rpc: Rpc) -> None:
    for field, path, value in _wrong_values(rpc):
        failure = await _refused(running, rpc, changed(rpc.request, **{field: value}))
        assert set(failure.violations) == {path}, value
        assert not [text for text in _texts(value) if text in repr(failure)]


async def test_registering_needs_card_data(running: Running) -> None:
    rpc = RPCS["RegisterCard"]
    failure = await _refused(running, rpc, changed(rpc.request, credentials=None))
    assert set(failure.violations) == {"card_data"}


@pytest.mark.parametrize("name", RPCS)
async def test_every_wrong_field_of_a_request_is_named(running: Running, name: str) -> None:
    rpc = RPCS[name]
    failure = await _refused(running, rpc, type(rpc.request)(request_id="x", user_id="first last"))
    required = {
        "CreateCard": {"consumer_id", "card_product_id", "accounts"},
        "RegisterCard": {"card_id", "consumer_id", "card_product_id", "card_data"},
        "RenewCard": {"card_id"},
        "ReplaceCard": {"card_id", "reason_code"},
        "DeleteCard": {"card_id", "reason_code"},
        "SuspendCard": {"card_id", "reason_code"},
        "ResumeCard": {"card_id", "reason_code"},
    }
    assert set(failure.violations) == {"request_id", "user_id"} | required[name]
    assert {field for field, text in failure.descriptions.items() if text.startswith("is required")} == required[name]
