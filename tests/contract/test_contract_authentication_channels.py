"""AuthenticationService without a browser: an AReq of an app (APP) or of the requestor alone (3RI)."""

from itertools import product
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from issuer.threeds.v1 import codes_pb2
from sandbox.threeds.transaction import Phase
from tests.contract.areqs import APP, FINAL_STATUSES, REQUESTOR, VERSIONS, an_areq, pan_of
from tests.contract.authenticating import DECOUPLED_SECONDS, Authenticating
from tests.running import failure_of

_CHANNELS = {"APP": APP, "3RI": REQUESTOR}
every_version = pytest.mark.parametrize("version", VERSIONS)
every_channel = pytest.mark.parametrize("channel", _CHANNELS)


@every_version
@every_channel
async def test_a_valid_areq_goes_through(authenticating: Authenticating, channel: str, version: str) -> None:
    for outcome, status in FINAL_STATUSES.items():
        if (outcome, version) == ("43", "2.1.0"):
            continue  # That version does not have it.
        areq = an_areq(version, pan_of(f"01{outcome}"), _CHANNELS[channel])
        response = await authenticating.authenticate(areq)
        assert response.ares.trans_status == status, outcome
        assert response.ares.message_version == VERSIONS[version]
        assert response.ares.sdk_trans_id == areq.sdk_trans_id
        assert not response.ares.HasField("unrecognized")
        assert not response.HasField("challenge")


async def test_an_areq_goes_through_whose_longest_fields_are_full(authenticating: Authenticating) -> None:
    extension: dict[str, Any] = {"name": "n" * 64, "criticality_indicator": False, "data": {"of": "x" * 8050}}
    done = {"three_ds_req_auth_method": "02", "three_ds_req_auth_timestamp": "202601020304"}
    earlier = {"three_ds_req_prior_auth_method": "02", "three_ds_req_prior_auth_timestamp": "202601020304"}
    areq = an_areq(
        "2.3.1",
        pan_of("0103"),
        APP,
        sdk_enc_data="x" * 64_000,
        message_extension=[{**extension, "id": f"extension-{number}"} for number in range(15)],
        three_ds_requestor_authentication_info=[{**done, "three_ds_req_auth_data": {"string_value": "x" * 19_998}}] * 3,
        three_ds_requestor_prior_authentication_info=[{**earlier, "three_ds_req_prior_auth_data": "x" * 20_000}] * 3,
        multi_transaction={"of": "x" * 9_990},
    )
    assert areq.ByteSize() > 300_000
    assert (await authenticating.authenticate(areq)).ares.trans_status == FINAL_STATUSES["03"]


@every_version
@every_channel
async def test_a_transaction_id_is_the_given_one_or_a_new_one(
    authenticating: Authenticating, channel: str, version: str
) -> None:
    found = await authenticating.lookup(pan_of("0103"), [version])
    used = []
    for given in (found.three_ds_server_trans_id, str(uuid4()), "", ""):
        areq = an_areq(version, pan_of("0103"), _CHANNELS[channel], three_ds_server_trans_id=given)
        used.append((await authenticating.authenticate(areq)).ares.three_ds_server_trans_id)
        assert UUID(used[-1]).version == 4
        assert given in {used[-1], ""}
        assert authenticating.phase(used[-1]) is Phase.ANSWERED
    assert len(set(used)) == 4


@every_version
async def test_the_challenge_of_an_app_is_its_sdks(authenticating: Authenticating, version: str) -> None:
    response = await authenticating.authenticate(an_areq(version, pan_of("0170"), APP))
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_CHALLENGE
    assert response.ares.acs_signed_content
    assert response.ares.acs_rendering_type.acs_interface == "01"
    assert not response.HasField("challenge")
    assert not (await authenticating.result(response.ares.three_ds_server_trans_id)).received
    authenticating.clock.now += 30
    result = await authenticating.result(response.ares.three_ds_server_trans_id)
    assert result.rreq.trans_status == codes_pb2.TRANS_STATUS_NOT_AUTHENTICATED


@every_version
async def test_without_a_cardholder_nobody_can_be_challenged(authenticating: Authenticating, version: str) -> None:
    failure = await failure_of(authenticating.authenticate(an_areq(version, pan_of("0170"), REQUESTOR)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "THREE_DS_REJECTED")
    assert failure.metadata["upstream_code"] == "305"


@pytest.mark.parametrize(("version", "channel"), [*product(["2.2.0", "2.3.1"], _CHANNELS)])
async def test_every_channel_can_be_decoupled(authenticating: Authenticating, version: str, channel: str) -> None:
    decoupled = {"three_ds_requestor_dec_req_ind": "Y", "three_ds_requestor_dec_max_time": "00005"}
    response = await authenticating.authenticate(an_areq(version, pan_of("0180"), _CHANNELS[channel], **decoupled))
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_DECOUPLED
    assert response.decoupled.poll_interval.seconds == 5
    trans_id = response.ares.three_ds_server_trans_id
    assert not (await authenticating.result(trans_id)).received
    authenticating.clock.now += DECOUPLED_SECONDS
    result = await authenticating.result(trans_id)
    assert result.rreq.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
    assert not result.rreq.HasField("unrecognized")


@every_version
async def test_an_authentication_without_a_payment_needs_no_purchase(
    authenticating: Authenticating, version: str
) -> None:
    areq = await authenticating.looked_up_areq(version, pan_of("0103"))
    areq.message_category = codes_pb2.MESSAGE_CATEGORY_NON_PAYMENT
    for name in ("purchase_amount", "purchase_currency", "purchase_exponent", "purchase_date"):
        areq.ClearField(name)
    response = await authenticating.authenticate(areq)
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
    assert not response.ares.authentication_value
