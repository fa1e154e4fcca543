"""Every outcome of a card number, in every version."""

from itertools import product
from typing import Any

import pytest

from sandbox.threeds.cards import METHODS, OUTCOMES
from sandbox.threeds.cards import RANGES as SERVED_RANGES
from sandbox.threeds.validation import Problem, Scene, problems
from tests.integration.sandbox_threeds.threeds_sandbox_areq import APP, BROWSER, REQUESTOR, VERSIONS, make_areq
from tests.integration.sandbox_threeds.threeds_sandbox_caller import RANGES, ThreeDSCaller, pan_of, version_digit

FINAL = {"03": "Y", "13": "N", "23": "A", "33": "R", "43": "I", "53": "U"}
CHALLENGED = ("70", "71", "72")
DECOUPLED = ("80", "81", "82")
DECOUPLED_REQUEST = {"threeDSRequestorDecReqInd": "Y", "threeDSRequestorDecMaxTime": "00005"}


def broken(message: dict[str, Any], name: str, version: str, channel: str = BROWSER) -> list[Problem]:
    return problems(message, name, Scene(version, channel, "01"))


def supported(outcome: str, version: str) -> bool:
    return version != "2.1.0" or (outcome != "43" and outcome not in DECOUPLED)


@pytest.mark.parametrize(("first", "second"), [*product("0123", "012")])
async def test_card_range_data_say_versions_and_method(caller: ThreeDSCaller, first: str, second: str) -> None:
    for outcome in OUTCOMES:
        crd = await caller.preauth(pan_of(first + second + outcome))

        assert broken(crd, "CRD", "2.3.1") == []
        assert (crd["acsStartProtocolVersion"], crd["acsEndProtocolVersion"]) == (RANGES[first][0], RANGES[first][-1])
        assert tuple(entry["version"] for entry in crd["acsProtocolVersions"]) == RANGES[first]
        assert (crd["dsStartProtocolVersion"], crd["dsEndProtocolVersion"]) == ("2.1.0", "2.3.1")
        assert ("threeDSMethodURL" in crd) is (second != "1")
        assert all(("threeDSMethodURL" in entry) is (second != "1") for entry in crd["acsProtocolVersions"])


async def test_the_matrix_has_no_other_cards() -> None:
    assert set(SERVED_RANGES) == set("0123")
    assert set(METHODS) == set("012")
    assert set(OUTCOMES) == {*FINAL, "63", *CHALLENGED, *DECOUPLED}


@pytest.mark.parametrize(("outcome", "version"), [*product(FINAL, VERSIONS)])
async def test_each_final_status_in_each_version(caller: ThreeDSCaller, outcome: str, version: str) -> None:
    ares = await caller.auth(version, version_digit(version) + "0" + outcome)

    if not supported(outcome, version):
        assert (ares["messageType"], ares["errorCode"]) == ("Erro", "305")
        return
    assert broken(ares, "ARes", version) == []
    assert ares["transStatus"] == FINAL[outcome]
    assert ares["messageVersion"] == version
    assert ("authenticationValue" in ares) is (FINAL[outcome] in {"Y", "A"})
    assert ares.get("eci") == {"Y": "05", "A": "06"}.get(FINAL[outcome])
    assert ("transStatusReason" in ares) is (FINAL[outcome] in {"N", "R", "U"})


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_directory_server_that_does_not_respond(caller: ThreeDSCaller, version: str) -> None:
    erro = await caller.auth(version, version_digit(version) + "063")

    assert broken(erro, "Erro", version) == []
    assert (erro["errorCode"], erro["errorComponent"], erro["errorDetail"]) == ("405", "S", "Connection timeout")


@pytest.mark.parametrize(("outcome", "version"), [*product(CHALLENGED, VERSIONS)])
async def test_each_challenge_in_each_version(caller: ThreeDSCaller, outcome: str, version: str) -> None:
    ares = await caller.auth(version, version_digit(version) + "0" + outcome)

    assert broken(ares, "ARes", version) == []
    assert ares["transStatus"] == "C"
    assert ares["acsURL"].startswith(caller.sandbox.threeds_url)


@pytest.mark.parametrize(("outcome", "version"), [*product(DECOUPLED, VERSIONS)])
async def test_each_decoupled_authentication_in_each_version(caller: ThreeDSCaller, outcome: str, version: str) -> None:
    request = DECOUPLED_REQUEST if version != "2.1.0" else {}
    ares = await caller.auth(version, version_digit(version) + "0" + outcome, **request)

    if not supported(outcome, version):
        assert (ares["messageType"], ares["errorCode"]) == ("Erro", "305")
        return
    assert broken(ares, "ARes", version) == []
    assert (ares["transStatus"], ares["acsDecConInd"]) == ("D", "Y")


@pytest.mark.parametrize(("indicator", "status"), [("Y", "D"), ("F", "D"), ("B", "D"), ("N", "U"), (None, "U")])
async def test_authentication_is_decoupled_only_where_the_request_allows_it(
    caller: ThreeDSCaller, indicator: str | None, status: str
) -> None:
    request: dict[str, Any] = {"threeDSRequestorDecReqInd": indicator, "threeDSRequestorDecMaxTime": "00005"}
    ares = await caller.auth("2.3.1", "0080", **(request if indicator else {}))

    assert broken(ares, "ARes", "2.3.1") == []
    assert ares["transStatus"] == status


@pytest.mark.parametrize(("first", "version"), [*product("0123", VERSIONS)])
async def test_a_version_has_to_be_one_of_the_cards(caller: ThreeDSCaller, first: str, version: str) -> None:
    response = await caller.auth(version, first + "003")

    if version in RANGES[first]:
        assert response["messageType"] == "ARes"
    else:
        assert (response["messageType"], response["errorCode"], response["messageVersion"]) == ("Erro", "102", version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("outcome", [*FINAL, *CHALLENGED, *DECOUPLED])
@pytest.mark.parametrize("channel", [APP, REQUESTOR])
async def test_every_response_keeps_the_rules_of_the_other_channels(
    caller: ThreeDSCaller, channel: str, outcome: str, version: str
) -> None:
    request = DECOUPLED_REQUEST if version != "2.1.0" else {}
    response = await caller.auth(version, version_digit(version) + "0" + outcome, channel, **request)

    challenged_alone = channel == REQUESTOR and outcome in CHALLENGED
    expected = "ARes" if supported(outcome, version) and not challenged_alone else "Erro"
    assert response["messageType"] == expected
    assert broken(response, expected, version, channel) == []


@pytest.mark.parametrize("channel", [APP, REQUESTOR])
async def test_without_a_browser_no_lookup_is_needed(caller: ThreeDSCaller, channel: str) -> None:
    trans_id = "8a880dc0-d2d2-4067-bcb1-b08d1690b26e"
    ares = await caller.auth("2.2.0", "0003", channel, threeDSServerTransID=trans_id)

    assert (ares["messageType"], ares["threeDSServerTransID"]) == ("ARes", trans_id)


async def test_a_non_payment_needs_no_purchase_and_gets_no_value(caller: ThreeDSCaller) -> None:
    pan = pan_of("0003")
    trans_id = (await caller.preauth(pan))["threeDSServerTransID"]
    areq = make_areq("2.2.0", pan, category="02", threeDSServerTransID=trans_id)
    ares = await caller.call("/auth", {name: value for name, value in areq.items() if "purchase" not in name})

    assert ares["transStatus"] == "Y"
    assert "authenticationValue" not in ares


async def test_mastercard_has_its_own_eci(caller: ThreeDSCaller) -> None:
    pan = pan_of("0003")
    crd = await caller.preauth(pan, ds="mastercard")
    ares = await caller.call("/auth", make_areq("2.2.0", pan, threeDSServerTransID=crd["threeDSServerTransID"]))

    assert (crd["scheme"], ares["eci"]) == ("mastercard", "02")


async def test_an_unknown_bin_is_not_enrolled(caller: ThreeDSCaller) -> None:
    erro = await caller.preauth("9000100111111111")

    assert broken(erro, "Erro", "2.1.0") == []
    assert (erro["messageType"], erro["errorCode"], erro["errorDetail"]) == ("Erro", "305", "Unknown BIN")


@pytest.mark.parametrize("ending", ["4003", "9003", "0303", "0903", "0083", "0073", "0004", "0093", "1112", "0090"])
async def test_any_other_ending_is_an_error(caller: ThreeDSCaller, ending: str) -> None:
    erro = await caller.preauth(pan_of(ending))

    assert (erro["messageType"], erro["errorCode"]) == ("Erro", "203")
    assert "acctNumber" in erro["errorDetail"]
