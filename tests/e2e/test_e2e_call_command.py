import asyncio
import json
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from d1_gateway_client import AsyncGatewayClient, Options
from d1_gateway_client.cli.descriptors import methods
from d1_gateway_client.cli.rpc_names import find
from sandbox import Sandbox
from sandbox.d1.model.contract import CardState, InitialState
from sandbox.d1.model.store import CardDetails
from tests.e2e.command import CLIENT, Ended, d1_gateway, ended, invoked, running

_PAN = "4970101234567890"
_LIST = ("call", "NotificationService/ListSubscriptions")
_NO_CALLER: Mapping[str, str] = {}


def _card(card_id: str = "card_1", pan: str = _PAN) -> dict[str, Any]:
    credentials = {"pan": pan, "expiry": {"month": 12, "year": 2031}}
    return {"card_id": card_id, "consumerId": "consumer_1", "cardProductId": "light", "credentials": credentials}


def _suspension(card_id: str) -> dict[str, str]:
    return {"cardId": card_id, "reasonCode": "FRAUD"}


async def _call(name: str, request: Any, *arguments: str, environment: Mapping[str, str] = _NO_CALLER) -> Ended:
    stdin = request if isinstance(request, bytes) else json.dumps(request).encode()
    return await invoked(CLIENT, "call", name, "--data", "-", *arguments, stdin=stdin, environment=environment)


async def test_a_card_is_registered_and_suspended(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    register = ("call", "CardService/RegisterCard", "--data", "-")
    stdin = json.dumps(_card("card_shell")).encode()
    registered = await d1_gateway(*register, program="d1-gateway-client", stdin=stdin, environment=caller)
    (tmp_path / "suspend.json").write_text(json.dumps(_suspension("card_shell")))
    named = "issuer.card.v1.CardService/SuspendCard"
    suspended = await invoked(CLIENT, "call", named, "--data", tmp_path / "suspend.json", environment=caller)

    for command in (registered, suspended):
        assert (command.status, json.loads(command.stdout)) == (0, {})
        assert len(command.mistakes) == 1
        assert command.mistakes[0].startswith("d1-gateway-client: request id ")
        assert _PAN not in command.stdout + command.stderr
    assert shared_sandbox.store.card("card_shell").state is CardState.SUSPENDED


async def test_a_response_is_printed_as_the_contract_has_it(caller: Mapping[str, str]) -> None:
    lookup = await _call("AuthenticationService/LookupCard", {"acctNumber": "9000100111110170"}, environment=caller)
    nothing = await invoked(CLIENT, *_LIST, environment=caller)

    response = json.loads(lookup.stdout)
    assert (lookup.status, lookup.stderr) == (0, ""), "what changes nothing has no request id"
    assert (response["enrolled"], response["crd"]["acsInfoInd"]) == (True, ["01", "02"])
    assert response["threeDSServerTransID"] == response["crd"]["threeDSServerTransID"]
    assert (nothing.status, json.loads(nothing.stdout)) == (0, {})


async def test_the_card_that_follows_another_is_named(shared_sandbox: Sandbox, caller: Mapping[str, str]) -> None:
    details = CardDetails("consumer_1", "full", InitialState.ACTIVE)
    shared_sandbox.store.add_consumer(details.consumer_id)
    old = shared_sandbox.store.create(details).card_id
    replaced = await _call("CardService/ReplaceCard", {"cardId": old, "reasonCode": "CARD_LOST"}, environment=caller)

    new = json.loads(replaced.stdout)["cardId"]
    cards = shared_sandbox.store
    assert (cards.card(old).state, cards.card(new).state) == (CardState.REPLACED, CardState.ACTIVE)


async def test_a_misspelt_enum_is_told_which_values_there_are() -> None:
    refused = await _call("CardService/CreateCard", {"consumerId": "consumer_1", "state": "SLEEPING"})

    line = refused.only_line(2)
    assert line.startswith("request: state: must be one of INITIAL_CARD_STATE_ACTIVE, INITIAL_CARD_STATE_INACTIVE")
    assert "UNSPECIFIED" not in line


async def test_a_failure_is_a_line_and_its_details(caller: Mapping[str, str]) -> None:
    suspend = await _call("CardService/SuspendCard", _suspension("card_unknown"), environment=caller)
    request_id, line, details = suspend.mistakes

    assert (suspend.status, suspend.stdout) == (1, "")
    parsed = json.loads(details)
    assert (parsed["code"], parsed["outcome"]) == ("NOT_FOUND", "REJECTED")
    assert parsed["reason"] in line
    assert parsed["correlationId"] in line
    assert (parsed["upstream"], parsed["upstreamStatus"]) == ("d1", 404)
    assert request_id == f"d1-gateway-client: request id {parsed['requestId']}"


async def test_broken_rules_are_named_and_card_data_is_not_repeated(caller: Mapping[str, str]) -> None:
    wrong = {**_card(), "credentials": {"pan": _PAN + "x", "expiry": {"month": 13, "year": 2031}}}
    refused = await _call("CardService/RegisterCard", wrong, environment=caller)

    parsed = json.loads(refused.mistakes[-1])
    assert refused.status == 1
    assert (parsed["reason"], parsed["outcome"]) == ("INVALID_REQUEST", "NOT_SENT")
    assert {each["field"] for each in parsed["violations"]} == {"credentials.pan", "credentials.expiry.month"}
    assert _PAN not in refused.stderr
    assert "credentials.pan: must be 10 to 19 digits; credentials.expiry.month: must be 1 to 12" in refused.mistakes[-2]

    missing = await _call("CardService/SuspendCard", {"cardId": "card_1"}, environment=caller)
    line = missing.mistakes[-2]
    assert line.count("reason_code is required: 1 character of A-Z, then at most 63 characters of A-Z 0-9 _") == 1


async def test_under_one_request_id_a_change_is_made_once(caller: Mapping[str, str]) -> None:
    assert (
        await _call("CardService/RegisterCard", _card("card_once", "4970101234567891"), environment=caller)
    ).status == 0
    chosen, suspension = str(uuid4()), _suspension("card_once")
    first = await _call("CardService/SuspendCard", suspension, "--request-id", chosen, environment=caller)
    again = await _call("CardService/SuspendCard", {**suspension, "requestId": chosen}, environment=caller)
    other = await _call("CardService/SuspendCard", suspension, environment=caller)

    assert (first.status, again.status, other.status) == (0, 0, 1)
    assert first.stderr == again.stderr == f"d1-gateway-client: request id {chosen}\n"
    assert json.loads(other.mistakes[-1])["reason"] == "UPSTREAM_FORBIDDEN"


async def test_an_unreachable_gateway_is_reported_with_the_cause_within_the_timeout() -> None:
    lost = await invoked(CLIENT, *_LIST, "--timeout", "0.5", "--address", "127.0.0.1:9")

    line, details = lost.mistakes
    assert lost.status == 1
    assert "Connection refused" in line
    assert json.loads(details)["outcome"] == "NOT_SENT"


async def test_a_certificate_that_is_missing_is_named_as_what_may_be_the_cause(caller: Mapping[str, str]) -> None:
    nobody = {name: value for name, value in caller.items() if "CERTIFICATE" not in name and "KEY" not in name}
    refused = await invoked(CLIENT, *_LIST, "--timeout", "2", environment=nobody)

    assert refused.status == 1
    assert "the gateway ends a connection without a client certificate" in refused.mistakes[0]


async def test_ctrl_c_ends_a_call_without_a_response() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = ("call", "CardService/DeleteCard", "--timeout", "60", "--address", address)
        async with running(*arguments, program="d1-gateway-client") as process:
            connection, _ = await asyncio.to_thread(silent.accept)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                command = await ended(process)
        connection.close()

    assert (command.status, command.stdout) == (130, "")
    assert [line.split()[1] for line in command.mistakes] == ["request", "interrupted"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CardService/SupendCard", "did you mean CardService/SuspendCard?"),
        ("suspendcard", "did you mean CardService/SuspendCard?"),
        ("issuer.card.v2.CardService/SuspendCard", "did you mean CardService/SuspendCard?"),
        ("Nonsense", "ThreeDSOperationService/GetThreeDSOperation"),
        ("NotificationService/WatchNotifications", "use d1-gateway-client watch"),
        ("NotificationService/BackfillNotifications", "use d1-gateway-client backfill"),
        ("CallbackService/HandleCallbacks", "use d1-gateway-client answer"),
    ],
)
async def test_a_name_that_cannot_be_called_is_reported_with_a_hint(name: str, hint: str) -> None:
    assert hint in (await invoked(CLIENT, "call", name)).only_line(2)


@pytest.mark.parametrize(
    ("request_", "mistakes"),
    [
        ({"cardID": _PAN, "nome": 1}, ["cardID: unknown field; did you mean cardId?", "nome: unknown"]),
        ({_PAN: 1}, ["(no name): unknown field"]),
        ({"credentials": {"pan": int(_PAN)}}, ["credentials.pan: must be text"]),
        ({"credentials": {"expiry": {"month": _PAN}}}, ["credentials.expiry.month: must be a number in range"]),
        ({"credentials": {"expiry": {"yaer": 1}}}, ["credentials.expiry.yaer: unknown field; did you mean"]),
        ({"credentials": [_PAN]}, ["credentials: must be an object"]),
        ({"credentials": {"pan": "\ud800" + _PAN}}, ["credentials.pan: must be text"]),
        ({"encryptedData": "x", "credentials": {}}, ["encryptedData, credentials: must be only one of them"]),
        ([_card()], ["the request must be one JSON object"]),
        (b'{"cardId": "a", "cardId": "%s"}' % _PAN.encode(), ["a name appears twice in one object"]),
        (b'{"cardId": "%s"' % _PAN.encode(), ["not JSON: "]),
        (b'{"cardId": "\xff%s"}' % _PAN.encode(), ["not JSON: not UTF-8"]),
        (b"[" * 100_000, ["unreadable JSON"]),
        (b'{"cardId": 1%s}' % (b"1" * 5000), ["unreadable JSON"]),
        (b"", ["not JSON: "]),
    ],
)
async def test_an_invalid_request_is_reported_by_field_and_never_by_value(request_: Any, mistakes: list[str]) -> None:
    refused = await _call("CardService/RegisterCard", request_)

    assert (refused.status, refused.stdout) == (2, "")
    lines = [line.removeprefix("d1-gateway-client: request: ") for line in refused.mistakes]
    assert len(lines) == len(mistakes), lines
    assert all(line.startswith(mistake) for line, mistake in zip(lines, mistakes, strict=True)), lines
    assert _PAN not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--data", json.dumps(_card())), "--data"),
        (("--data", "/nonexistent"), "/nonexistent"),
        (("--data", "/tmp"), "/tmp"),  # noqa: S108 (a folder that is surely there)
        (("--timeout", "nan"), "--timeout"),
        (("--timeout", "0"), "--timeout"),
        (("--request-id", "\udcff"), "UTF-8"),
    ],
)
async def test_an_option_that_cannot_be_used_is_named(arguments: tuple[str, ...], named: str) -> None:
    line = (await invoked(CLIENT, "call", "CardService/RegisterCard", *arguments)).only_line(2)

    assert named in line
    assert _PAN not in line


async def test_a_request_id_must_be_valid() -> None:
    twice = await _call("CardService/SuspendCard", {"requestId": str(uuid4())}, "--request-id", str(uuid4()))
    useless = await invoked(CLIENT, *_LIST, "--request-id", str(uuid4()))

    for refused in (twice, useless):
        assert refused.only_line(2).startswith("--request-id: ")


async def test_every_single_call_of_the_contracts_is_one_of_the_client() -> None:
    async with AsyncGatewayClient(Options(address="127.0.0.1:9")) as client:
        found = [find(name) for name, method in methods().items() if not method.server_streaming]
        missing = [rpc for rpc in found if not hasattr(getattr(client, rpc.client), rpc.function)]

    assert (len(found), missing) == (21, [])
