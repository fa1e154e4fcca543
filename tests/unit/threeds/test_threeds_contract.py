from itertools import product
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor
from protovalidate import Validator

from gateway.grpc_api.services.authentication import emv_violations
from gateway.threeds.rules.codes import codes_of, enum_beside
from gateway.threeds.rules.compiler import check, check_request
from gateway.threeds.rules.formats import text_requirements
from gateway.threeds.rules.tables import MESSAGES, VERSIONS, objects, table
from issuer.threeds.v1 import areq_pb2, codes_pb2, messages_pb2, objects_pb2
from tests.unit.threeds.threeds_samples import (
    CATEGORIES,
    CHANNELS,
    CONTRACT,
    bad_texts,
    find,
    good_areq,
    good_message,
    put,
)

_KINDS: dict[str, Any] = {
    **{name: message.DESCRIPTOR for name, message in CONTRACT.items()},
    **objects_pb2.DESCRIPTOR.message_types_by_name,
}
"""The messages of the contract, and the objects in them."""
_ENUMS: dict[str, EnumDescriptor] = dict(codes_pb2.DESCRIPTOR.enum_types_by_name)

_ODD = (
    *("0", "00", "000", "99", "a", "A-", "a@b@c", "a@-b", "a@b.", ".@b", "::1%a", "1.2.3.4/8", "1.2.3.04", "0" * 70000),
    *("https://", "https://[::1", "https://[:::]", "https://[::1]:x", "https://a/%zz", "https://a:b"),
    *(
        "https://a:99999",
        "https://a/ b",
        "https://a/<b>",
        "https://a#b#c",
        "https://a^b",
        "https:a",
        "https://a/é",
        "//a/b",
    ),
)

_SENSITIVE = {
    *("acctNumber", "acctID", "authenticationValue", "cardExpiryDate", "cardSecurityCode", "cardholderName", "email"),
    *("homePhone", "mobilePhone", "workPhone", "cc", "subscriber", "deliveryEmailAddress", "sdkEncData", "taxId"),
    *(f"{kind}Addr{part}" for kind in ("bill", "ship") for part in ("Line1", "Line2", "Line3", "City", "PostCode")),
    *("billAddrState", "shipAddrState", "billAddrCountry", "shipAddrCountry", "browserIP", "appIp", "unrecognized"),
    *("threeDSReqAuthData", "threeDSReqPriorAuthData", "payTokenInfo", "sellerEmail", "sellerPhone"),
}


def test_the_contract_has_every_field_of_every_table_and_no_other() -> None:
    tables = {name: table(name) for name in CONTRACT}
    tables |= {name: rules for name, rules in objects().items() if name not in MESSAGES}
    fields = {
        name: {field.json_name for field in kind.fields if enum_beside(field) is None} - {"unrecognized"}
        for name, kind in _KINDS.items()
    }
    assert fields == {name: {row.name for row in rules.rows} - {"messageType"} for name, rules in tables.items()}


def test_sensitive_fields_are_marked() -> None:
    marked = {field.json_name for kind in _KINDS.values() for field in kind.fields if field.GetOptions().debug_redact}
    assert _SENSITIVE - marked == set()


@pytest.mark.parametrize("name", _ENUMS)
def test_every_value_of_an_enum_has_a_code_of_its_own(name: str) -> None:
    enum = _ENUMS[name]
    codes = codes_of(enum)
    assert len(codes.numbers) == len(codes.by_number) == len(enum.values) - 1
    for value in enum.values[1:]:
        code = codes.by_number[value.number]
        assert code
        assert codes.numbers[code] == value.number


def test_every_code_of_an_enum_is_allowed_in_some_version() -> None:
    for name, message in CONTRACT.items():
        for field in message.DESCRIPTOR.fields:
            if field.enum_type is None:
                continue
            rows = [row for row in table(name).rows if row.name == field.json_name]
            for code in codes_of(field.enum_type).numbers:
                if name != "RReq" or field.name != "trans_status":
                    assert any(
                        all(requirement.met_by(code) for requirement in text_requirements(row, ascii_only=False))
                        for row in rows
                    ), (name, field.name, code)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_good_value_in_every_field_breaks_no_rule_of_the_tables_and_of_the_contract(name: str) -> None:
    validator = Validator()
    for version, channel, category in product(VERSIONS, CHANNELS, CATEGORIES):
        message = good_message(name, version, channel, category)
        assert check(message, version=version, channel=channel, category=category) == []
        assert validator.collect_violations(message) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tables_refuse_all_that_the_contract_refuses_of_an_areq(version: str) -> None:
    validator = Validator()
    refused = 0
    done: set[str] = set()
    for channel in CHANNELS:
        # With no more fields than the contract requires, each check takes little time.
        good = good_areq(version, channel)
        least = areq_pb2.AReq(device_channel=good.device_channel, message_category=good.message_category)
        for violation in validator.collect_violations(least):
            assert violation.proto.field is not None
            (required,) = violation.proto.field.elements
            setattr(least, required.field_name, getattr(good, required.field_name))
        assert validator.collect_violations(least) == []
        for row in table("AReq").fields(version).values():
            field = find(least, row.name)
            if field is None or row.type != "string" or not row.used_in(channel, "01") or row.name in done:
                continue
            done.add(row.name)
            for text in (*_ODD, *(text for text, _ in bad_texts(row, ascii_only=True))):
                areq = areq_pb2.AReq()
                areq.CopyFrom(least)
                put(areq, field, text)
                if validator.collect_violations(areq):
                    refused += 1
                    own = [each for each in check_request(areq) if each.field.startswith(f"areq.{field.name}")]
                    assert own, (row.name, text)
    assert refused > 300


def test_the_constraints_of_an_areq_are_not_checked_a_second_time_within_a_request() -> None:
    request = messages_pb2.AuthenticateRequest(areq=areq_pb2.AReq(acct_number="x"))
    assert Validator().collect_violations(request.areq)
    assert not Validator().collect_violations(request)
    assert emv_violations(request)
