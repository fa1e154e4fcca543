"""JSON in form fields: base64url, written without padding and read with or without."""

import base64
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.threeds import form_fields
from gateway.threeds.challenge import CRes, parse_cres
from gateway.threeds.form_fields import FormFieldError
from gateway.threeds.lookup import parse_method_completion

TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
CRES = {
    "messageType": "CRes",
    "messageVersion": "2.2.0",
    "threeDSServerTransID": TRANSACTION,
    "acsTransID": "5af5e779-4d44-4201-a2bf-4890eb9e0ba7",
    "transStatus": "Y",
}
SECRET = "c2VjcmV0"


def padded(message: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(message)).decode()


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=5))
def test_what_is_written_has_no_padding_and_is_read_again(message: dict[str, str]) -> None:
    field = form_fields.encode(message)

    assert re.fullmatch(r"[A-Za-z0-9_-]+", field)
    assert form_fields.decode(field) == message


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=5), st.integers(0, 3))
def test_padding_makes_no_difference(message: dict[str, str], count: int) -> None:
    field = padded(message)

    assert form_fields.decode(field) == message
    assert form_fields.decode(field.rstrip("=") + "=" * count) == message
    assert form_fields.decode(f" {field}\r\n") == message


@given(st.text(max_size=200))
def test_whatever_comes_is_read_or_refused(field: str) -> None:
    try:
        message = form_fields.decode(field)
    except FormFieldError:
        return
    assert isinstance(message, dict)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "=",
        "====",
        "A",
        "e30 e30",
        "e30+",
        "e30=e30",
        "\u0665\u0665\u0665\u0665",
        padded([1]),
        padded("text"),
        padded(None),
        base64.urlsafe_b64encode(b'{"a":').decode(),
        base64.urlsafe_b64encode(b'{"a":"\xff"}').decode(),
        base64.urlsafe_b64encode(b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}").decode(),
        padded({"a": "x" * 100_000}),
    ],
)
def test_what_is_no_json_object_in_base64url_is_refused(field: str) -> None:
    with pytest.raises(FormFieldError):
        form_fields.decode(field)


@given(st.booleans(), st.sampled_from(["Y", "N", "U", ""]))
def test_a_cres_is_read_padded_or_not(is_padded: bool, status: str) -> None:  # noqa: FBT001 - an example
    field = padded(CRES | {"transStatus": status, "fromTheFuture": {"a": 1}})

    assert parse_cres(field if is_padded else field.rstrip("=")) == CRes(
        three_ds_server_trans_id=TRANSACTION,
        acs_trans_id=CRES["acsTransID"],
        message_version="2.2.0",
        trans_status=status,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"messageType": "CReq"},
        {"messageType": "Erro"},
        {"messageType": None},
        {"threeDSServerTransID": ""},
        {"threeDSServerTransID": 7},
        {"acsTransID": [SECRET]},
        {"transStatus": None},
    ],
)
def test_what_is_no_cres_is_refused_without_being_quoted(changes: dict[str, object]) -> None:
    with pytest.raises(FormFieldError) as caught:
        parse_cres(padded(CRES | changes))

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("transaction", [TRANSACTION, TRANSACTION.upper()])
def test_a_completion_of_the_3ds_method_names_its_transaction(transaction: str) -> None:
    field = padded({"threeDSServerTransID": transaction})

    assert parse_method_completion(field) == TRANSACTION
    assert parse_method_completion(field.rstrip("=")) == TRANSACTION


@pytest.mark.parametrize("transaction", [None, 7, "", SECRET, ["a"], {"a": 1}])
def test_a_completion_without_a_transaction_is_refused_without_being_quoted(transaction: object) -> None:
    with pytest.raises(FormFieldError) as caught:
        parse_method_completion(padded({"threeDSServerTransID": transaction}))

    assert SECRET not in str(caught.value)
