"""Messages that the server rejects, and its errors."""

import json
from typing import Any

import pytest

from sandbox.threeds.validation import Scene, problems
from tests.integration.sandbox_threeds.threeds_sandbox_areq import APP, REQUESTOR, VERSIONS, make_areq
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller, pan_of

TRANS_ID = "8a880dc0-d2d2-4067-bcb1-b08d1690b26e"


def missing(erro: dict[str, Any]) -> set[str]:
    assert (erro["messageType"], erro["errorCode"]) == ("Erro", "201")
    return set(erro["errorDetail"].split(", "))


async def refused(caller: ThreeDSCaller, version: str = "2.2.0", channel: str = "02", **changes: Any) -> Any:
    erro = await caller.auth(version, "0003", channel, **changes)
    assert erro["messageType"] == "Erro"
    assert problems(erro, "Erro", Scene(version, channel)) == []
    assert erro["errorMessageType"] == "AReq"
    return erro


async def test_everything_that_is_missing_is_named(caller: ThreeDSCaller) -> None:
    erro = await refused(caller, mcc=None, notificationURL=None, purchaseAmount=None, browserTZ=None)

    assert missing(erro) == {"mcc", "notificationURL", "purchaseAmount", "browserTZ"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_areq_needs_the_fields_of_its_channel(caller: ThreeDSCaller, version: str) -> None:
    assert missing(await refused(caller, version, REQUESTOR, threeRIInd=None)) == {"threeRIInd"}
    assert missing(await refused(caller, version, APP, sdkAppID=None)) == {"sdkAppID"}
    assert missing(await refused(caller, version, threeDSServerTransID=None)) == {"threeDSServerTransID"}


@pytest.mark.parametrize("name", ["messageType", "messageVersion", "deviceChannel", "messageCategory"])
async def test_an_areq_has_to_say_what_it_is(caller: ThreeDSCaller, name: str) -> None:
    without: dict[str, Any] = {name: None}
    erro = await caller.auth("2.2.0", "0003", **without)

    assert missing(erro) == {name}


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"messageType": "ARes"}, "101", "messageType"),
        ({"messageVersion": "2.0.1"}, "102", "messageVersion"),
        ({"messageVersion": 2}, "102", "messageVersion"),
        ({"deviceChannel": "80"}, "203", "deviceChannel"),
        ({"deviceChannel": 2}, "203", "deviceChannel"),
        ({"messageCategory": "90"}, "203", "messageCategory"),
        ({"threeDSServerTransID": "1"}, "203", "threeDSServerTransID"),
        ({"acctNumber": "x"}, "203", "acctNumber"),
        ({"purchaseDate": "20261301000000"}, "203", "purchaseDate"),
        ({"mcc": 5411}, "203", "mcc"),
        ({"mcc": None, "browserTZ": "x"}, "201", "mcc"),
        ({"browserJavaEnabled": "true"}, "203", "browserJavaEnabled"),
        ({"merchantName": ""}, "203", "merchantName"),
        ({"cardholderName": "Zoë Müller"}, "203", "cardholderName"),
        ({"homePhone": {"cc": "45"}}, "201", "homePhone.subscriber"),
        ({"homePhone": {"cc": "45", "subscriber": "x"}}, "203", "homePhone.subscriber"),
        ({"homePhone": "45"}, "203", "homePhone"),
        ({"homePhone": {}}, "203", "homePhone"),
        ({"messageExtension": {}}, "203", "messageExtension"),
        ({"messageExtension": []}, "203", "messageExtension"),
        (
            {"messageExtension": [{"id": "i", "name": "n", "data": {}}]},
            "201",
            "messageExtension[0].criticalityIndicator",
        ),
        ({"unheardOf": "x"}, "203", "unheardOf"),
        ({"trustListStatus": "Y"}, "203", "trustListStatus"),
        ({"threeRIInd": "05"}, "203", "threeRIInd"),
        ({"purchaseCurrency": "999"}, "304", "purchaseCurrency"),
        ({"merchantCountryCode": "901", "mcc": "1"}, "203", "mcc"),
        ({"merchantCountryCode": "901", "purchaseCurrency": "999"}, "304", "merchantCountryCode, purchaseCurrency"),
    ],
)
async def test_each_way_to_be_wrong(caller: ThreeDSCaller, changes: dict[str, Any], code: str, detail: str) -> None:
    erro = await caller.auth("2.2.0", "0003", **changes)

    assert erro["messageType"] == "Erro"
    assert erro["errorCode"] == code
    assert set(erro["errorDetail"].split(", ")) == set(detail.split(", "))
    assert problems(erro, "Erro", Scene(erro["messageVersion"])) == []


@pytest.mark.parametrize(("version", "name"), [("2.2.0", "billAddrCity"), ("2.3.1", "billAddrCity")])
async def test_text_has_to_be_ascii(caller: ThreeDSCaller, version: str, name: str) -> None:
    assert (await refused(caller, version, **{name: "Århus"}))["errorDetail"] == name


async def test_a_cardholders_name_may_be_more_than_ascii_in_the_newest_version(caller: ThreeDSCaller) -> None:
    assert (await caller.auth("2.3.1", "0003", cardholderName="Zoë Müller"))["messageType"] == "ARes"


@pytest.mark.parametrize(("critical", "message"), [(True, "Erro"), (False, "ARes")])
async def test_a_critical_extension_is_not_recognised(caller: ThreeDSCaller, *, critical: bool, message: str) -> None:
    extension = {"id": "i", "name": "n", "criticalityIndicator": critical, "data": {"a": 1}}
    response = await caller.auth("2.2.0", "0003", messageExtension=[extension])

    assert response["messageType"] == message
    assert response.get("errorCode", "202") == "202"


async def test_an_app_gets_its_own_id(caller: ThreeDSCaller) -> None:
    assert (await refused(caller, "2.2.0", APP, mcc=None, sdkTransID=TRANS_ID))["sdkTransID"] == TRANS_ID


async def test_an_error_never_repeats_a_value(caller: ThreeDSCaller) -> None:
    erro = await refused(caller, email="secret", cardholderName="s")

    assert set(erro["errorDetail"].split(", ")) == {"email", "cardholderName"}
    assert "secret" not in json.dumps(erro)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "101"),
        (b"{", 400, "101"),
        (b"[]", 400, "101"),
        (b"null", 400, "101"),
        (b'{"a": NaN}', 400, "101"),
        (b"\xff", 400, "101"),
        (b'{"a": "\\ud800"}', 400, "101"),
        (b"[" * 100_000, 400, "101"),
        (b'{"acctNumber": "1", "acctNumber": "2"}', 200, "204"),
        (b'{"acctNumber": {"a": "1", "a": "2"}}', 200, "204"),
        (b"{}", 200, "201"),
    ],
)
@pytest.mark.parametrize("path", ["/preauth", "/auth", "/postauth"])
async def test_what_is_no_message_is_refused(
    caller: ThreeDSCaller, path: str, body: bytes, status: int, code: str
) -> None:
    response = await caller.send("POST", path, data=body, headers={"Content-Type": "application/json"})

    assert (response.status, response.json["messageType"], response.json["errorCode"]) == (status, "Erro", code)
    assert problems(response.json, "Erro", Scene(response.json["messageVersion"])) == []


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        ({"acctNumber": "1"}, "203", "acctNumber"),
        ({"acctNumber": pan_of("0003"), "ds": "none"}, "203", "ds"),
        ({"acctNumber": pan_of("0003"), "more": "x"}, "203", "more"),
    ],
)
async def test_a_wrong_lookup_is_refused(caller: ThreeDSCaller, body: dict[str, Any], code: str, detail: str) -> None:
    erro = await caller.call("/preauth", body)

    assert (erro["errorCode"], erro["errorDetail"]) == (code, detail)


async def test_a_result_is_requested_by_an_id(caller: ThreeDSCaller) -> None:
    assert (await caller.postauth("1"))["errorDetail"] == "threeDSServerTransID"
    assert (await caller.postauth(TRANS_ID))["errorDetail"] == "Unknown threeDSServerTransID"


async def test_any_accepted_areq_is_what_the_tables_say(caller: ThreeDSCaller) -> None:
    for version in VERSIONS:
        for channel in ("01", "02", "03"):
            areq = make_areq(version, pan_of("0003"), channel, threeDSServerTransID=TRANS_ID)
            assert problems(areq, "AReq", Scene(version, channel)) == []
    assert caller.sandbox.transactions.all() == ()
