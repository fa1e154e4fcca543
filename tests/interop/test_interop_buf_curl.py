"""Clients of reflection and of the contracts' folder: `buf curl`, and grpcio's descriptor database."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from d1_gateway_client.testing import Flow, SandboxGateway, Status
from tests.interop.interop_contracts import run
from tests.interop.interop_docs import blocks
from tests.interop.interop_processes import Program, running

_SETUP, _SCHEMA, _CALL, _DETAIL, _WATCH, _ANSWER = blocks("buf curl", "sh")
_REGISTRATION, _REPLY = (json.loads(block) for block in blocks("buf curl", "json"))
_FAILED_PRECONDITION = 9 * 8
"""As an exit status."""


@contextmanager
def curl(gateway: SandboxGateway, command: str, further_setup: str = "") -> Iterator[Program]:
    """Run a command of the document where the keys are. The shell makes way for it, so that it is what is ended."""
    options = gateway.options
    assert options.ca_file is not None
    script = f"{_SETUP}{further_setup}exec {command}".replace("127.0.0.1:7443", options.address)
    with running(["sh", "-c", script], options.ca_file.parent) as program:
        yield program


def test_a_call_succeeds_and_a_refused_one_says_why(
    d1_gateway: SandboxGateway, new_card: Callable[[], str], contracts: Path
) -> None:
    command = _CALL.replace("card_1", new_card())
    with curl(d1_gateway, command) as program:
        assert program.hear() == {}
        assert program.ended() == 0
    with curl(d1_gateway, command) as program:
        assert program.ended() == _FAILED_PRECONDITION
        detail = json.loads(program.complaint())["details"][1]
    assert detail["type"] == "issuer.common.v1.ErrorDetail"
    shown = json.loads(run("sh", "-c", _DETAIL.replace("VALUE", detail["value"]), folder=contracts.parent))
    assert (shown["reason"], shown["outcome"]) == ("ERROR_REASON_UPSTREAM_FORBIDDEN", "ERROR_OUTCOME_REJECTED")


def test_the_folder_of_the_contracts_serves_as_well_as_reflection(
    d1_gateway: SandboxGateway, new_card: Callable[[], str], contracts: Path
) -> None:
    schema = _SCHEMA.replace("contracts", str(contracts))
    with curl(d1_gateway, _CALL.replace("card_1", new_card()), schema) as program:
        assert program.hear() == {}
    with curl(d1_gateway, _CALL, _SCHEMA.replace("contracts", "elsewhere")) as program:
        assert program.ended() == 1
        assert "elsewhere" in program.complaint()


def test_a_watch_brings_earlier_and_new_notifications(d1_gateway: SandboxGateway, new_card: Callable[[], str]) -> None:
    card = new_card()
    assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    seen: list[tuple[str, str]] = []
    with curl(d1_gateway, _WATCH) as program:
        while len(seen) < 2:
            for each in program.hear().get("notifications", []):
                if each["cardId"] == card:
                    operation = each["threeDSOperation"]
                    seen.append((operation["typeText"], operation["statusText"]))
            if len(seen) == 1:
                assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    assert seen == [("3DS_FRICTIONLESS", "SUCCESSFUL")] * 2


def test_a_purchase_is_paid_with_the_password_requested_by_hand(
    d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    with curl(d1_gateway, _ANSWER) as program:
        program.say(_REGISTRATION)
        assert "registered" in program.hear()
        purchase = d1_gateway.buy(card, Flow.SMS_OTP_ISSUER)
        request = program.hear()["callbackRequest"]
        assert request["deliverOtp"]["consumerId"] == card.replace("card", "consumer")
        program.say({"callback_reply": _REPLY["callback_reply"] | {"token": request["token"]}})
        assert program.hear()["acknowledgement"] == {"token": request["token"], "outcome": "REPLY_OUTCOME_ACCEPTED"}
        assert purchase.wait_rests() is Status.AWAITS_OTP, purchase.error
        assert purchase.type_otp(request["deliverOtp"]["otp"])
        assert purchase.wait_ends() is Status.SUCCESSFUL
        assert purchase.answers == [204]


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_reflection_is_there_under_both_of_its_names(d1_gateway: SandboxGateway, protocol: str) -> None:
    with curl(d1_gateway, f"$curl --reflect-protocol {protocol} --list-methods $gateway") as program:
        listed, complaint = program.said(), program.complaint()
    assert "issuer.card.v1.CardService/SuspendCard" in listed, complaint
    assert {f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")} <= {
        *listed
    }


def test_grpcios_database_resolves_a_request_with_all_that_it_imports(d1_gateway: SandboxGateway) -> None:
    options = d1_gateway.options
    assert options.ca_file is not None
    assert options.certificate_file is not None
    assert options.key_file is not None
    files = (options.ca_file, options.key_file, options.certificate_file)
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    with grpc.secure_channel(options.address, credentials) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        suspend = pool.FindMessageTypeByName("issuer.card.v1.SuspendCardRequest")
        assert "buf/validate/validate.proto" in [imported.name for imported in suspend.file.dependencies]
