"""AuthenticationService: the choices and fields of a lookup, and the lifetimes of transactions."""

from uuid import uuid4

import grpc
import pytest

from issuer.threeds.v1 import codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.threeds.contract import UNKNOWN_BIN, Operation
from tests.contract.areqs import VERSIONS, an_areq, pan_of
from tests.contract.authenticating import DECOUPLED_SECONDS, Authenticating
from tests.running import Failure, failure_of


@pytest.mark.parametrize(
    ("first", "spoken", "chosen"),
    [("0", (), "2.3.1"), ("0", ("2.2.0", "2.1.0"), "2.2.0"), ("1", (), "2.1.0"), ("1", ("2.2.0", "2.3.1"), None)],
)
async def test_the_highest_version_that_all_speak_is_chosen(
    authenticating: Authenticating, first: str, spoken: tuple[str, ...], chosen: str | None
) -> None:
    found = await authenticating.lookup(pan_of(f"{first}003"), spoken)
    assert found.enrolled
    assert found.message_version == (VERSIONS[chosen] if chosen else codes_pb2.MESSAGE_VERSION_UNSPECIFIED)
    assert found.HasField("three_ds_method") is (chosen is not None)
    assert found.three_ds_server_trans_id == found.crd.three_ds_server_trans_id
    assert not found.crd.HasField("unrecognized")


async def test_a_card_that_takes_no_part_is_no_error_and_tells_nothing_else(authenticating: Authenticating) -> None:
    arrivals = authenticating.arrivals(Operation.PREAUTH)
    assert await authenticating.lookup(UNKNOWN_BIN) == threeds.LookupCardResponse(enrolled=False)
    assert arrivals.count == 1


async def test_a_directory_server_can_be_named(authenticating: Authenticating) -> None:
    request = threeds.LookupCardRequest(acct_number=pan_of("0003"), ds="mastercard")
    found = await authenticating.running.authentication.LookupCard(request, timeout=10)
    assert found.crd.scheme == "mastercard"
    areq = an_areq("2.2.0", pan_of("0003"), three_ds_server_trans_id=found.three_ds_server_trans_id)
    assert (await authenticating.authenticate(areq)).ares.eci == "02"


async def test_a_lookup_is_good_for_80_seconds(authenticating: Authenticating) -> None:
    areqs = [await authenticating.looked_up_areq("2.2.0", pan_of("0003")) for _ in range(2)]
    authenticating.clock.now += 79.9
    assert (await authenticating.authenticate(areqs[0])).ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
    authenticating.clock.now += 0.1
    await _rejected(authenticating, areqs[1].three_ds_server_trans_id, "301")


async def test_a_lookup_is_good_for_one_authentication_and_a_browser_needs_one(authenticating: Authenticating) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0003"))
    await authenticating.authenticate(areq)
    for trans_id in (areq.three_ds_server_trans_id, str(uuid4())):
        await _rejected(authenticating, trans_id, "301")


async def _rejected(authenticating: Authenticating, trans_id: str, code: str) -> None:
    areq = an_areq("2.2.0", pan_of("0003"), three_ds_server_trans_id=trans_id)
    failure = await failure_of(authenticating.authenticate(areq))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "THREE_DS_REJECTED")
    assert (failure.outcome, failure.metadata["upstream_code"]) == ("REJECTED", code)


async def _unknown(authenticating: Authenticating, trans_id: str) -> Failure:
    arrivals = authenticating.arrivals(Operation.POSTAUTH)
    failure = await failure_of(authenticating.result(trans_id))
    assert failure.error == (grpc.StatusCode.NOT_FOUND, "THREE_DS_TRANSACTION_UNKNOWN", "REJECTED", None)
    assert arrivals.count == 1
    authenticating.sandbox.faults.clear()
    return failure


async def test_the_result_of_a_transaction_that_never_was_is_not_found(authenticating: Authenticating) -> None:
    failure = await _unknown(authenticating, str(uuid4()))
    assert failure.metadata["upstream_code"] == "203"


@pytest.mark.parametrize(("authenticated", "seconds"), [(False, 80), (True, 300)])
async def test_a_lookup_and_a_final_status_have_no_result_and_are_forgotten(
    authenticating: Authenticating, *, authenticated: bool, seconds: int
) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0003"))
    if authenticated:
        await authenticating.authenticate(areq)
    assert not (await authenticating.result(areq.three_ds_server_trans_id)).received
    authenticating.clock.now += seconds
    await _unknown(authenticating, areq.three_ds_server_trans_id)


async def test_the_result_of_a_challenge_is_kept_for_300_seconds(authenticating: Authenticating) -> None:
    areq = await authenticating.looked_up_areq("2.3.1", pan_of("0170"))
    response = await authenticating.authenticate(areq)
    await authenticating.begin_challenge(response.challenge)
    authenticating.clock.now += 299.9
    first = await authenticating.result(areq.three_ds_server_trans_id)
    assert first.received
    assert await authenticating.result(areq.three_ds_server_trans_id) == first
    authenticating.clock.now += 0.1
    await _unknown(authenticating, areq.three_ds_server_trans_id)


async def test_a_challenge_that_nobody_begins_has_failed_after_30_seconds(authenticating: Authenticating) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0170"))
    await authenticating.authenticate(areq)
    authenticating.clock.now += 29.9
    assert not (await authenticating.result(areq.three_ds_server_trans_id)).received
    authenticating.clock.now += 0.1
    result = await authenticating.result(areq.three_ds_server_trans_id)
    assert result.rreq.trans_status == codes_pb2.TRANS_STATUS_NOT_AUTHENTICATED
    assert (result.rreq.trans_status_reason, result.rreq.challenge_cancel) == ("14", "05")


@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
async def test_a_decoupled_result_comes_late_and_is_kept_for_20_minutes(
    authenticating: Authenticating, version: str
) -> None:
    decoupled = {"three_ds_requestor_dec_req_ind": "Y", "three_ds_requestor_dec_max_time": "00005"}
    areq = await authenticating.looked_up_areq(version, pan_of("0180"), **decoupled)
    trans_id = areq.three_ds_server_trans_id
    await authenticating.authenticate(areq)
    authenticating.clock.now += DECOUPLED_SECONDS - 0.1
    assert not (await authenticating.result(trans_id)).received
    authenticating.clock.now += 0.1
    assert (await authenticating.result(trans_id)).received
    authenticating.clock.now += 1199.9
    assert (await authenticating.result(trans_id)).received
    authenticating.clock.now += 0.1
    await _unknown(authenticating, trans_id)
