"""Data that a browser returns, base64url with or without padding."""

import base64
from contextlib import suppress
from dataclasses import asdict

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d1_gateway_client.browser import CRes, FormFieldError, MethodCompletion, parse_cres, parse_method_completion
from gateway.threeds.rules.tables import VERSIONS, table

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


@given(st.text(max_size=200))
def test_whatever_comes_is_parsed_or_refused(field: str) -> None:
    for parse in (parse_cres, parse_method_completion):
        with suppress(FormFieldError):
            parse(field)


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
    for parse in (parse_cres, parse_method_completion):
        with pytest.raises(FormFieldError):
            parse(field)


@given(st.booleans(), st.sampled_from(["Y", "N", "U", ""]))
def test_a_cres_is_read_padded_or_not(is_padded: bool, status: str) -> None:  # noqa: FBT001 - an example
    field = padded(CRES | {"transStatus": status, "fromTheFuture": {"a": 1}})
    expected = CRes(
        three_ds_server_trans_id=TRANSACTION,
        acs_trans_id=CRES["acsTransID"],
        message_version="2.2.0",
        trans_status=status,
        unrecognized={"fromTheFuture": {"a": 1}},
    )

    assert parse_cres(field if is_padded else field.rstrip("=")) == expected
    assert parse_cres(f"{field}\r\n") == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_of_a_cres_is_read(version: str) -> None:
    sent: dict[str, object] = {row.name: row.name for row in table("CRes").fields(version).values()}
    sent |= {"messageType": "CRes", "messageExtension": [{"id": SECRET, "data": {"a": 1}}]}
    cres = parse_cres(padded(sent))

    assert cres.unrecognized == {}
    read = [value for name, value in asdict(cres).items() if name != "unrecognized"]
    assert sorted(map(str, read)) == sorted(
        str(tuple(value) if isinstance(value, list) else value) for name, value in sent.items() if name != "messageType"
    )
    assert SECRET not in repr(cres)
    assert hash(cres) == hash(parse_cres(padded(sent)))


def test_a_value_of_another_kind_is_kept_where_the_transaction_is_known_without_it() -> None:
    odd: dict[str, object] = {
        "acsCounterAtoS": 1,
        "challengeCompletionInd": True,
        "sdkTransID": [],
        "messageExtension": "x",
    }

    assert parse_cres(padded(CRES | odd)) == CRes(TRANSACTION, CRES["acsTransID"], "2.2.0", "Y", unrecognized=odd)


def test_null_is_absent_and_a_byte_order_mark_is_skipped() -> None:
    field = base64.urlsafe_b64encode(
        b"\xef\xbb\xbf" + orjson.dumps(CRES | {"transStatus": None, "sdkTransID": None})
    ).decode()

    assert parse_cres(field).trans_status == ""
    assert parse_cres(field).unrecognized == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"messageType": "CReq"},
        {"messageType": "Erro"},
        {"messageType": None},
        {"threeDSServerTransID": ""},
        {"threeDSServerTransID": 7},
        {"acsTransID": [SECRET]},
        {"threeDSServerTransID": None},
    ],
)
def test_what_is_no_cres_is_refused_without_being_quoted(changes: dict[str, object]) -> None:
    with pytest.raises(FormFieldError) as caught:
        parse_cres(padded(CRES | changes))

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("transaction", [TRANSACTION, TRANSACTION.upper()])
def test_a_completion_of_the_3ds_method_names_its_transaction(transaction: str) -> None:
    field = padded({"threeDSServerTransID": transaction})

    for written in (field, field.rstrip("="), f" {field}=\r\n"):
        assert parse_method_completion(written) == MethodCompletion(TRANSACTION)


def test_what_a_completion_of_the_3ds_method_has_beyond_its_transaction_is_kept() -> None:
    beyond = {"fromTheFuture": {"a": 1}, "threeDSMethodStatus": None}

    read = parse_method_completion(padded({"threeDSServerTransID": TRANSACTION} | beyond))

    assert read == MethodCompletion(TRANSACTION, unrecognized=beyond)
    assert "fromTheFuture" not in repr(read)


@pytest.mark.parametrize("transaction", [None, 7, "", SECRET, ["a"], {"a": 1}])
def test_a_completion_without_a_transaction_is_refused_without_being_quoted(transaction: object) -> None:
    with pytest.raises(FormFieldError) as caught:
        parse_method_completion(padded({"threeDSServerTransID": transaction}))

    assert SECRET not in str(caught.value)
