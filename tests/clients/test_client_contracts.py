"""The client's contracts, options and representations."""

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from google.protobuf import descriptor_pool

import d1_gateway_client.contracts.issuer.card.v1 as card_contracts
from d1_gateway_client import Options
from d1_gateway_client.contracts.issuer.callback.v1 import CallbackRequest, DeliverOtpRequest
from d1_gateway_client.contracts.issuer.card.v1 import CardServiceAsyncStub, RegisterCardRequest
from d1_gateway_client.contracts.issuer.common.v1 import CardCredentials, CardExpiry, ErrorReason
from d1_gateway_client.contracts.issuer.threeds.v1 import AReq
from issuer.card.v1 import messages_pb2
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import areq_pb2


def test_both_kinds_of_contract_can_be_used_beside_each_other() -> None:
    ours = RegisterCardRequest(
        card_id="card-1", credentials=CardCredentials(pan="4970101234567890", expiry=CardExpiry(month=1, year=2031))
    )
    theirs = messages_pb2.RegisterCardRequest.FromString(bytes(ours))
    assert theirs.credentials.expiry.year == 2031
    assert RegisterCardRequest.parse(theirs.SerializeToString()) == ours


def test_every_reason_of_the_contract_is_known() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.DESCRIPTOR.values_by_name}
    assert names == set(ErrorReason.__members__)


def test_the_contracts_comments_are_the_clients_documentation() -> None:
    assert "Not idempotent" in (CardServiceAsyncStub.create_card.__doc__ or "")
    assert {field.name for field in dataclasses.fields(AReq)} == set(areq_pb2.AReq.DESCRIPTOR.fields_by_name)


def test_what_is_sensitive_is_not_printed() -> None:
    pending = CallbackRequest(token="t-1", deliver_otp=DeliverOtpRequest(consumer_id="consumer-1", otp="123456"))
    assert "123456" not in repr(pending)
    assert "deliver_otp=DeliverOtpRequest(consumer_id='consumer-1', otp=***)" in repr(pending)
    request = RegisterCardRequest(card_id="card-1", credentials=CardCredentials(pan="4970101234567890"))
    assert "4970101234567890" not in f"{request} {request.credentials}"


def test_every_field_that_the_contract_redacts_is_redacted() -> None:
    checked = 0
    for package, message, fields in redacted():
        module = importlib.import_module(f"d1_gateway_client.contracts.issuer.{package}.v1")
        found = next(each for name, each in vars(module).items() if name.lower() == message.lower())
        for field in fields:
            made = found(**{field: "secret-7"})
            assert "secret-7" not in repr(made), f"{package}: {message}.{field}"
            checked += 1
    assert checked > 20


def redacted() -> Iterator[tuple[str, str, list[str]]]:
    pool = descriptor_pool.Default()
    files = {
        "card": ("messages",),
        "common": ("card_data",),
        "callback": ("requests", "replies"),
        "consumer": ("personal_information",),
        "threeds": ("areq", "objects"),
    }
    for area, file in ((area, file) for area, names in files.items() for file in names):
        found: Any = pool.FindFileByName(f"issuer/{area}/v1/{file}.proto")
        for name, message in found.message_types_by_name.items():
            fields = [each.name for each in message.fields if each.GetOptions().debug_redact]
            if fields:
                yield area, name, fields


def test_the_environment_says_where_the_gateway_is() -> None:
    environment = {
        "D1_GATEWAY_CLIENT_ADDRESS": "gateway:8443",
        "D1_GATEWAY_CLIENT_CA_FILE": "/etc/ca.pem",
        "D1_GATEWAY_CLIENT_CERTIFICATE_FILE": "/etc/caller.pem",
        "D1_GATEWAY_CLIENT_KEY_FILE": "/etc/caller-key.pem",
        "D1_GATEWAY_CLIENT_TOKEN_FILE": "/run/token",
        "D1_GATEWAY_CLIENT_DEADLINE_SECONDS": "2.5",
        "D1_GATEWAY_CLIENT_MAX_ATTEMPTS": "2",
    }
    assert Options.from_environment(environment) == Options(
        address="gateway:8443",
        ca_file=Path("/etc/ca.pem"),
        certificate_file=Path("/etc/caller.pem"),
        key_file=Path("/etc/caller-key.pem"),
        token_file=Path("/run/token"),
        deadline_seconds=2.5,
        max_attempts=2,
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"address": ""}, "address"),
        ({"key_file": Path("key")}, "certificate_file, key_file"),
        ({"token": "a", "token_file": Path("b")}, "token, token_file"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"keepalive_seconds": 9}, "keepalive_seconds"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
)
def test_options_that_cannot_work_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: "):
        Options(**{"address": "gateway:8443", **changes})


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="D1_GATEWAY_CLIENT_MAX_ATTEMPTS"):
        Options.from_environment({"D1_GATEWAY_CLIENT_ADDRESS": "a:1", "D1_GATEWAY_CLIENT_MAX_ATTEMPTS": "many"})


def test_a_token_is_read_from_its_file_each_time_and_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    options = Options(address="a:1", token_file=file)
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        assert options.bearer_token() == token
    assert "secret" not in repr(Options(address="a:1", token="secret"))
    assert Options(address="a:1").bearer_token() is None


def test_the_contracts_need_nothing_of_google() -> None:
    # The stubs are the gateway's; its generated modules would clash with other versions in one process.
    assert issubclass(AReq, betterproto2.Message)
    assert "google.protobuf" not in Path(card_contracts.__file__).read_text()
