"""AuthenticationService: every test card of the simulator in every version, from a browser."""

import time
from collections.abc import Iterator
from itertools import product

import grpc
import pytest

from issuer.threeds.v1 import areq_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.threeds.cards import METHODS, OUTCOMES, RANGES
from sandbox.threeds.encoding import decode
from sandbox.threeds.transaction import Phase
from tests.contract.areqs import FINAL_STATUSES, VERSIONS, an_areq, pan_of
from tests.contract.authenticating import DECOUPLED_SECONDS, METHOD_URL, Authenticating
from tests.running import failure_of

_PASSED = codes_pb2.TRANS_STATUS_AUTHENTICATED
_FAILED = codes_pb2.TRANS_STATUS_NOT_AUTHENTICATED
_SILENT = "63"
_CHALLENGES = {
    "70": ("", _PASSED),
    "71": ("", _FAILED),
    "72 passed": ("pass", _PASSED),
    "72 failed": ("fail", _FAILED),
    "74 refused": ("fail", _FAILED),
}
"""Each challenge: the cardholder's choice, if any, and the result."""
_DECOUPLED = {"80": _PASSED, "81": _FAILED, "82": codes_pb2.TRANS_STATUS_UNAVAILABLE}
_COMPLETIONS = {
    "0": codes_pb2.COMPLETION_INDICATOR_COMPLETED,
    "1": codes_pb2.COMPLETION_INDICATOR_UNAVAILABLE,
    "2": codes_pb2.COMPLETION_INDICATOR_NOT_COMPLETED,
}
_CODES = {_PASSED: "Y", _FAILED: "N"}
_WITH_PROOF = {_PASSED: "05", codes_pb2.TRANS_STATUS_ATTEMPTED: "06"}
_NOT_IN_2_1_0 = ("43", *_DECOUPLED)
every_version = pytest.mark.parametrize("version", VERSIONS)


def _endings(version: str, outcome: str) -> Iterator[str]:
    """Every card with an outcome in a version that it supports."""
    for first, versions in RANGES.items():
        if version in versions:
            yield from (first + second + outcome for second in METHODS)


async def _prepared(authenticating: Authenticating, version: str, ending: str) -> areq_pb2.AReq:
    """Run all steps before Authenticate."""
    sent = time.time()
    found = await authenticating.lookup(pan_of(ending), [version])
    assert found.enrolled, ending
    assert found.message_version == VERSIONS[version], ending
    assert sent + 79 < found.expire_time.ToMilliseconds() / 1000 < time.time() + 81
    completion = await authenticating.run_method(found)
    assert completion == _COMPLETIONS[ending[1]], ending
    return an_areq(
        version, pan_of(ending), three_ds_server_trans_id=found.three_ds_server_trans_id, three_ds_comp_ind=completion
    )


def _suits(response: threeds.AuthenticateResponse, areq: areq_pb2.AReq) -> None:
    """Check the fields that every ARes has."""
    ares = response.ares
    assert ares.three_ds_server_trans_id == areq.three_ds_server_trans_id
    assert ares.message_version == areq.message_version
    assert ares.acs_trans_id
    assert ares.ds_trans_id
    assert not ares.HasField("unrecognized")


def test_the_simulator_has_no_other_cards() -> None:
    assert {*FINAL_STATUSES, _SILENT, *(name[:2] for name in _CHALLENGES), *_DECOUPLED} == set(OUTCOMES)
    assert set(_COMPLETIONS) == set(METHODS)


@pytest.mark.parametrize(
    ("outcome", "version"), [pair for pair in product(FINAL_STATUSES, VERSIONS) if pair != ("43", "2.1.0")]
)
async def test_a_final_status_reaches_the_caller(authenticating: Authenticating, outcome: str, version: str) -> None:
    status = FINAL_STATUSES[outcome]
    for ending in _endings(version, outcome):
        areq = await _prepared(authenticating, version, ending)
        response = await authenticating.authenticate(areq)
        _suits(response, areq)
        assert response.ares.trans_status == status, ending
        assert response.ares.eci == _WITH_PROOF.get(status, "")
        assert bool(response.ares.authentication_value) is (status in _WITH_PROOF)
        assert not response.HasField("challenge")
        assert not response.HasField("decoupled")


@every_version
@pytest.mark.parametrize("name", _CHALLENGES)
async def test_a_challenge_in_the_browser_ends_as_the_acs_says(
    authenticating: Authenticating, name: str, version: str
) -> None:
    pressed, status = _CHALLENGES[name]
    for ending in _endings(version, name[:2]):
        areq = await _prepared(authenticating, version, ending)
        response = await authenticating.authenticate(areq)
        _suits(response, areq)
        assert response.ares.trans_status == codes_pb2.TRANS_STATUS_CHALLENGE, ending
        assert not response.HasField("decoupled")
        trans_id = areq.three_ds_server_trans_id
        assert await authenticating.result(trans_id) == threeds.GetChallengeResultResponse(received=False)

        page = await authenticating.begin_challenge(response.challenge)
        if pressed:
            assert not (await authenticating.result(trans_id)).received
            page = await authenticating.browser.press(page.form, pressed)
        cres = authenticating.brought_back(page)
        assert cres.trans_status == _CODES[status], ending
        assert (cres.three_ds_server_trans_id, cres.acs_trans_id) == (trans_id, response.ares.acs_trans_id)
        assert cres.message_version == version

        result = await authenticating.result(trans_id)
        assert result.received
        assert result.rreq.trans_status == status, ending
        assert (result.rreq.three_ds_server_trans_id, result.rreq.acs_trans_id) == (trans_id, cres.acs_trans_id)
        assert result.rreq.message_version == VERSIONS[version]
        assert result.rreq.eci == _WITH_PROOF.get(status, "")
        assert not result.rreq.HasField("unrecognized")


@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
@pytest.mark.parametrize("outcome", _DECOUPLED)
async def test_a_decoupled_authentication_is_polled_for(
    authenticating: Authenticating, outcome: str, version: str
) -> None:
    waiting = []
    for ending in _endings(version, outcome):
        areq = await _prepared(authenticating, version, ending)
        areq.three_ds_requestor_dec_req_ind, areq.three_ds_requestor_dec_max_time = "Y", "00005"
        response = await authenticating.authenticate(areq)
        _suits(response, areq)
        assert response.ares.trans_status == codes_pb2.TRANS_STATUS_DECOUPLED, ending
        assert response.ares.acs_dec_con_ind == codes_pb2.YES_NO_YES
        assert not response.HasField("challenge")
        assert 290 < response.decoupled.poll_until_time.ToMilliseconds() / 1000 - time.time() < 301
        assert response.decoupled.poll_interval.seconds == 5
        waiting.append(areq.three_ds_server_trans_id)
        assert not (await authenticating.result(waiting[-1])).received
    authenticating.clock.now += 300 if outcome == "82" else DECOUPLED_SECONDS
    for trans_id in waiting:
        result = await authenticating.result(trans_id)
        assert (result.received, result.rreq.trans_status) == (True, _DECOUPLED[outcome])


@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
@pytest.mark.parametrize("outcome", _DECOUPLED)
async def test_nothing_is_decoupled_unless_requested(
    authenticating: Authenticating, outcome: str, version: str
) -> None:
    for ending in _endings(version, outcome):
        response = await authenticating.authenticate(await _prepared(authenticating, version, ending))
        assert response.ares.trans_status == codes_pb2.TRANS_STATUS_UNAVAILABLE
        assert not response.HasField("decoupled")


@every_version
async def test_a_silent_directory_server_is_reported(authenticating: Authenticating, version: str) -> None:
    for ending in _endings(version, _SILENT):
        areq = await _prepared(authenticating, version, ending)
        failure = await failure_of(authenticating.authenticate(areq))
        assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "THREE_DS_TIMED_OUT"), ending
        assert failure.outcome == "UNKNOWN"
        assert failure.metadata["upstream_code"] == "405"
        assert failure.metadata["error_component"] == "S"
        assert failure.metadata["three_ds_server_trans_id"] == areq.three_ds_server_trans_id


@pytest.mark.parametrize("outcome", _NOT_IN_2_1_0)
async def test_a_status_that_2_1_0_does_not_have_is_an_error_there(
    authenticating: Authenticating, outcome: str
) -> None:
    for ending in _endings("2.1.0", outcome):
        areq = await _prepared(authenticating, "2.1.0", ending)
        failure = await failure_of(authenticating.authenticate(areq))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "THREE_DS_REJECTED"), ending
        assert failure.metadata["upstream_code"] == "305"
        assert authenticating.phase(areq.three_ds_server_trans_id) is Phase.LOOKED_UP


@every_version
async def test_a_version_that_the_card_does_not_have_is_refused(authenticating: Authenticating, version: str) -> None:
    for first, versions in RANGES.items():
        pan = pan_of(f"{first}103")
        found = await authenticating.lookup(pan)
        areq = an_areq(version, pan, three_ds_server_trans_id=found.three_ds_server_trans_id)
        if version in versions:
            assert (await authenticating.authenticate(areq)).ares.message_version == VERSIONS[version]
            continue
        failure = await failure_of(authenticating.authenticate(areq))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "THREE_DS_REJECTED")
        assert (failure.metadata["upstream_code"], failure.metadata["error_component"]) == ("102", "D")


async def test_the_requested_window_size_is_in_the_creq(authenticating: Authenticating) -> None:
    for window, code in (
        (codes_pb2.CHALLENGE_WINDOW_SIZE_UNSPECIFIED, "05"),
        (codes_pb2.CHALLENGE_WINDOW_SIZE_390_BY_400, "02"),
        (codes_pb2.CHALLENGE_WINDOW_SIZE_FULL_SCREEN, "05"),
    ):
        areq = await authenticating.looked_up_areq("2.2.0", pan_of("0170"))
        response = await authenticating.authenticate(areq, window)
        assert decode(response.challenge.creq) == {
            "threeDSServerTransID": areq.three_ds_server_trans_id,
            "acsTransID": response.ares.acs_trans_id,
            "messageVersion": "2.2.0",
            "messageType": "CReq",
            "challengeWindowSize": code,
        }
        assert "=" not in response.challenge.creq
        assert response.challenge.acs_url == response.ares.acs_url
        assert response.challenge.max_session_data_length == 1024
        assert 20 < response.challenge.expire_time.ToMilliseconds() / 1000 - time.time() < 31


async def test_the_3ds_method_names_its_transaction_and_where_to_come_back(authenticating: Authenticating) -> None:
    found = await authenticating.lookup(pan_of("0003"))
    assert found.three_ds_method.url == found.crd.three_ds_method_url
    assert found.three_ds_method.url.startswith(authenticating.sandbox.threeds_url)
    assert found.three_ds_method.expire_time == found.expire_time
    assert "=" not in found.three_ds_method.data
    assert decode(found.three_ds_method.data) == {
        "threeDSServerTransID": found.three_ds_server_trans_id,
        "threeDSMethodNotificationURL": METHOD_URL,
    }
