"""AuthenticationService: the requests of the 3DS server's own examples, and codes that a directory server defines."""

from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from adapters.threeds.codec import decode
from issuer.threeds.v1 import areq_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.threeds.contract import Operation
from tests.contract.areqs import REQUESTOR, VERSIONS, an_areq, pan_of
from tests.contract.authenticating import DECOUPLED_SECONDS, SECONDS, Authenticating
from tests.running import failure_of
from tests.unit.threeds.threeds_examples import BROWSER_AREQ, DECOUPLED_AREQ, REQUESTOR_AREQ

_LACKING: Mapping[str, Any] = {
    "threeDSCompInd": "U",
    "notificationURL": "https://requestor.example.org/end",
    "purchaseDate": "20260316141312",
    "browserAcceptHeader": "text/html",
    "browserLanguage": "da",
    "browserUserAgent": "Mozilla/5.0",
    "browserJavascriptEnabled": True,
    "browserJavaEnabled": False,
    "browserColorDepth": "24",
    "browserScreenHeight": "400",
    "browserScreenWidth": "600",
    "browserTZ": "0",
}
"""What a browser needs and the example of a decoupled authentication lacks."""


def _read(example: Mapping[str, Any], **more: Any) -> areq_pb2.AReq:
    """Read an example; it has no field that the contract does not have."""
    return decode(areq_pb2.AReq, {**example, **more})


async def _looked_up(authenticating: Authenticating, example: Mapping[str, Any]) -> str:
    found = await authenticating.lookup(example["acctNumber"])
    assert found.message_version == VERSIONS[example["messageVersion"]]
    return found.three_ds_server_trans_id


async def test_the_example_of_a_browser_is_authenticated(authenticating: Authenticating) -> None:
    trans_id = await _looked_up(authenticating, BROWSER_AREQ)
    response = await authenticating.authenticate(_read(BROWSER_AREQ, threeDSServerTransID=trans_id))
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED


async def test_the_example_of_a_requestor_is_authenticated(authenticating: Authenticating) -> None:
    response = await authenticating.authenticate(_read(REQUESTOR_AREQ))
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED


async def test_the_decoupled_example_lacks_what_is_named_at_once_and_is_authenticated_with_it(
    authenticating: Authenticating,
) -> None:
    trans_id = await _looked_up(authenticating, DECOUPLED_AREQ)
    failure = await failure_of(authenticating.authenticate(_read(DECOUPLED_AREQ)))
    lacking = _read({"threeDSServerTransID": trans_id}, **_LACKING)
    assert failure.violations == {f"areq.{field.name}": "emv.required" for field, _ in lacking.ListFields()}

    response = await authenticating.authenticate(_read(DECOUPLED_AREQ, threeDSServerTransID=trans_id, **_LACKING))
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_DECOUPLED


@pytest.mark.parametrize("code", ["81", "99"])
@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
async def test_a_category_of_a_directory_server_goes_all_the_way(
    authenticating: Authenticating, version: str, code: str
) -> None:
    areq = await authenticating.looked_up_areq(
        version,
        pan_of("0180"),
        message_category=None,
        message_category_text=code,
        three_ds_requestor_dec_req_ind="Y",
        three_ds_requestor_dec_max_time="00005",
        # Required of a payment alone.
        merchant_name=None,
        purchase_amount=None,
    )
    response = await authenticating.authenticate(areq)
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_DECOUPLED
    authenticating.clock.now += DECOUPLED_SECONDS
    rreq = (await authenticating.result(areq.three_ds_server_trans_id)).rreq
    assert rreq.message_category == codes_pb2.MESSAGE_CATEGORY_UNSPECIFIED
    assert dict(rreq.unrecognized.items()) == {"messageCategory": code}


async def test_a_channel_of_a_directory_server_is_sent(authenticating: Authenticating) -> None:
    areq = an_areq("2.2.0", pan_of("0103"), REQUESTOR, device_channel=None, device_channel_text="80")
    response = await authenticating.authenticate(areq)
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
    areq.acct_number = pan_of("0170")
    failure = await failure_of(authenticating.authenticate(areq))
    assert failure.metadata["upstream_code"] == "305"


@pytest.mark.parametrize(
    ("fields", "violation"),
    [
        ({"message_category_text": "81"}, ("areq.message_category_text", "emv.either")),
        ({"message_category": None, "message_category_text": "80"}, ("areq.message_category_text", "emv.code")),
        ({"device_channel": None, "device_channel_text": "02"}, ("areq.device_channel_text", "emv.code")),
    ],
)
async def test_a_code_that_an_enum_has_is_refused_as_text(
    authenticating: Authenticating, fields: dict[str, Any], violation: tuple[str, str]
) -> None:
    arrivals = authenticating.arrivals(Operation.AUTH)
    failure = await failure_of(authenticating.authenticate(an_areq("2.2.0", pan_of("0003"), **fields)))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert violation in failure.violations.items()
    assert arrivals.count == 0


async def test_unionpays_directory_server_can_be_named_in_both_calls(authenticating: Authenticating) -> None:
    request = threeds.LookupCardRequest(acct_number=pan_of("0003"), ds="upi")
    found = await authenticating.running.authentication.LookupCard(request, timeout=SECONDS)
    assert found.crd.scheme == "upi"
    areq = an_areq("2.2.0", pan_of("0003"), three_ds_server_trans_id=found.three_ds_server_trans_id, ds="upi")
    response = await authenticating.authenticate(areq)
    assert response.ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
