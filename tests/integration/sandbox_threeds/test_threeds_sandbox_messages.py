"""The messages that the 3-D Secure server sends, and those that it refuses."""

import json
from typing import Any

import pytest

from sandbox.threeds.cards import OUTCOMES
from sandbox.threeds.validation import Scene, problems
from tests.contract.areqs import VERSIONS, pan_of
from tests.integration.sandbox_threeds.threeds_sandbox_caller import (
    APP,
    BROWSER,
    REQUESTOR,
    UNKNOWN_ID,
    ThreeDSCaller,
    broken,
    decoupled,
)

EXTENSION = {"id": "i", "name": "n", "data": {"a": 1}}
every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
@pytest.mark.parametrize("channel", [APP, BROWSER, REQUESTOR])
async def test_the_response_of_every_card_keeps_the_rules_of_its_version_and_channel(
    caller: ThreeDSCaller, version: str, channel: str
) -> None:
    request = {} if version == "2.1.0" else decoupled()
    for ending in OUTCOMES:
        assert broken(await caller.auth(version, f"00{ending}", channel, **request), version, channel) == [], ending


async def test_a_number_that_is_no_test_card_is_refused(caller: ThreeDSCaller) -> None:
    for ending in ("4003", "9003", "0303", "0903", "0083", "0073", "0004", "0093", "1112", "0090"):
        erro = await caller.preauth(ending)

        assert (erro["messageType"], erro["errorCode"]) == ("Erro", "203"), ending
        assert "acctNumber" in erro["errorDetail"]


async def refused(caller: ThreeDSCaller, version: str = "2.2.0", channel: str = BROWSER, **changes: Any) -> Any:
    erro = await caller.auth(version, "0003", channel, **changes)
    assert (erro["messageType"], erro["errorMessageType"]) == ("Erro", "AReq")
    assert broken(erro, erro["messageVersion"], channel) == []
    return erro


@every_version
@pytest.mark.parametrize(
    ("channel", "missing"),
    [
        (BROWSER, {"mcc", "notificationURL", "purchaseAmount", "browserTZ"}),
        (BROWSER, {"threeDSServerTransID"}),
        (REQUESTOR, {"threeRIInd"}),
        (APP, {"sdkAppID"}),
        *((BROWSER, {name}) for name in ("messageType", "messageVersion", "deviceChannel", "messageCategory")),
    ],
)
async def test_everything_that_is_missing_is_named(
    caller: ThreeDSCaller, version: str, channel: str, missing: set[str]
) -> None:
    erro = await refused(caller, version, channel, **dict.fromkeys(missing))

    assert (erro["errorCode"], set(erro["errorDetail"].split(", "))) == ("201", missing)


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"messageType": "ARes"}, "101", "messageType"),
        ({"messageVersion": "2.0.1"}, "102", "messageVersion"),
        ({"messageVersion": 2}, "102", "messageVersion"),
        ({"deviceChannel": "79"}, "203", "deviceChannel"),
        ({"deviceChannel": 2}, "203", "deviceChannel"),
        ({"messageCategory": "03"}, "203", "messageCategory"),
        ({"threeDSServerTransID": "1"}, "203", "threeDSServerTransID"),
        ({"acctNumber": "x"}, "203", "acctNumber"),
        ({"purchaseDate": "20261301000000"}, "203", "purchaseDate"),
        ({"mcc": 5411}, "203", "mcc"),
        ({"mcc": None, "browserTZ": "x"}, "201", "mcc"),
        ({"browserJavaEnabled": "true"}, "203", "browserJavaEnabled"),
        ({"merchantName": ""}, "203", "merchantName"),
        ({"cardholderName": "Zoë Müller"}, "203", "cardholderName"),
        ({"email": "secret", "cardholderName": "s"}, "203", "email, cardholderName"),
        ({"homePhone": {"cc": "45"}}, "201", "homePhone.subscriber"),
        ({"homePhone": {"cc": "45", "subscriber": "x"}}, "203", "homePhone.subscriber"),
        ({"homePhone": "45"}, "203", "homePhone"),
        ({"homePhone": {}}, "203", "homePhone"),
        ({"messageExtension": {}}, "203", "messageExtension"),
        ({"messageExtension": []}, "203", "messageExtension"),
        ({"messageExtension": [EXTENSION]}, "201", "messageExtension[0].criticalityIndicator"),
        ({"unheardOf": "x"}, "203", "unheardOf"),
        ({"trustListStatus": "Y"}, "203", "trustListStatus"),
        ({"threeRIInd": "05"}, "203", "threeRIInd"),
        ({"purchaseCurrency": "999"}, "304", "purchaseCurrency"),
        ({"merchantCountryCode": "901", "mcc": "1"}, "203", "mcc"),
        ({"merchantCountryCode": "901", "purchaseCurrency": "999"}, "304", "merchantCountryCode, purchaseCurrency"),
    ],
)
async def test_each_way_to_be_wrong_is_named_without_its_value(
    caller: ThreeDSCaller, changes: dict[str, Any], code: str, detail: str
) -> None:
    erro = await refused(caller, **changes)

    assert erro["errorCode"] == code
    assert set(erro["errorDetail"].split(", ")) == set(detail.split(", "))
    assert "secret" not in json.dumps(erro)


@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
async def test_text_is_ascii_but_for_the_cardholders_name_in_the_newest_version(
    caller: ThreeDSCaller, version: str
) -> None:
    assert (await refused(caller, version, billAddrCity="Århus"))["errorDetail"] == "billAddrCity"
    named = await caller.auth(version, "0003", cardholderName="Zoë Müller")
    assert named["messageType"] == ("ARes" if version == "2.3.1" else "Erro")


async def test_a_critical_extension_is_not_recognised(caller: ThreeDSCaller) -> None:
    responses = [
        await caller.auth("2.2.0", "0003", messageExtension=[EXTENSION | {"criticalityIndicator": critical}])
        for critical in (True, False)
    ]

    assert [(each["messageType"], each.get("errorCode")) for each in responses] == [("Erro", "202"), ("ARes", None)]


async def test_an_app_gets_its_own_id(caller: ThreeDSCaller) -> None:
    assert (await refused(caller, channel=APP, mcc=None, sdkTransID=UNKNOWN_ID))["sdkTransID"] == UNKNOWN_ID


@pytest.mark.parametrize("path", ["/preauth", "/auth", "/postauth"])
async def test_what_is_no_message_is_refused(caller: ThreeDSCaller, path: str) -> None:
    no_json = (b"", b"{", b"[]", b"null", b'{"a": NaN}', b"\xff", b'{"a": "\\ud800"}', b"[" * 100_000)
    repeated = (b'{"acctNumber": "1", "acctNumber": "2"}', b'{"acctNumber": {"a": "1", "a": "2"}}')
    expected = dict.fromkeys(no_json, (400, "101")) | dict.fromkeys(repeated, (200, "204")) | {b"{}": (200, "201")}
    for body, error in expected.items():
        response = await caller.send("POST", path, data=body, headers={"Content-Type": "application/json"})

        assert ((response.status, response.json["errorCode"]), response.json["messageType"]) == (error, "Erro"), body
        assert problems(response.json, "Erro", Scene(response.json["messageVersion"])) == []


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/preauth", {"acctNumber": "1"}, "acctNumber"),
        ("/preauth", {"acctNumber": pan_of("0003"), "ds": "none"}, "ds"),
        ("/preauth", {"acctNumber": pan_of("0003"), "more": "x"}, "more"),
        ("/postauth", {"threeDSServerTransID": "1"}, "threeDSServerTransID"),
        ("/postauth", {"threeDSServerTransID": UNKNOWN_ID}, "Unknown threeDSServerTransID"),
    ],
)
async def test_a_wrong_lookup_of_a_card_or_a_result_is_refused(
    caller: ThreeDSCaller, path: str, body: dict[str, Any], detail: str
) -> None:
    erro = await caller.call(path, body)

    assert (erro["errorCode"], erro["errorDetail"]) == ("203", detail)
