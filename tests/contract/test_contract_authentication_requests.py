"""AuthenticationService: an invalid request is rejected with all its violations before anything is sent."""

import re
from typing import cast

import grpc
import pytest
from grpc_status import rpc_status

from issuer.threeds.v1 import messages_pb2 as threeds
from issuer.threeds.v1 import objects_pb2
from tests.contract.areqs import CARDHOLDER_NAME, EMAIL, an_areq, pan_of
from tests.contract.authenticating import Authenticating
from tests.contract.card_rpcs import changed
from tests.contract.d1_rpcs import THREEDS_RPCS, refused_unsent
from tests.running import failure_of

_TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
_SECRETS = (pan_of("0003"), CARDHOLDER_NAME, EMAIL)


def _wrong_everywhere() -> threeds.AuthenticateRequest:
    """Break rules of every kind, with values that must not reappear."""
    areq = an_areq("2.2.0", pan_of("0003"), three_ds_server_trans_id=_TRANSACTION, accept_language=["en"])
    areq.acct_number += "x"
    areq.cardholder_name += "\u00e9"
    areq.email += " "
    areq.browser_ip = "300.1.1.1"
    areq.purchase_date = "20260231000000"
    areq.purchase_currency = "999"
    areq.three_ds_comp_ind = 77  # type: ignore[assignment]
    areq.three_ri_ind = "03"
    areq.mobile_phone.CopyFrom(objects_pb2.ThreeDSPhoneNumber(cc="+45"))
    areq.acct_info.ch_acc_age_ind = "77"
    areq.three_ds_requestor_challenge_ind.append("xx")
    areq.message_extension.add(id="A" * 65, criticality_indicator=False)
    areq.ClearField("merchant_name")
    return threeds.AuthenticateRequest(issuer_id="SHORT", areq=areq, challenge_window_size=77)  # type: ignore[arg-type]


_WRONG = {
    "issuer_id": "string.len",
    "challenge_window_size": "enum.defined_only",
    "areq.acct_number": "emv.pattern",
    "areq.cardholder_name": "emv.ascii",
    "areq.email": "emv.format.email",
    "areq.browser_ip": "emv.format.ip",
    "areq.purchase_date": "emv.format.yyyymmddhhmmss",
    "areq.purchase_currency": "emv.format.currency",
    "areq.three_ds_comp_ind": "emv.code",
    "areq.three_ri_ind": "emv.scope",
    "areq.mobile_phone.cc": "emv.pattern",
    "areq.mobile_phone.subscriber": "emv.required",
    "areq.acct_info.ch_acc_age_ind": "emv.code",
    "areq.three_ds_requestor_challenge_ind[0]": "emv.pattern",
    "areq.message_extension[0].name": "emv.required",
    "areq.message_extension[0].id": "emv.length",
    "areq.message_extension[0].data": "emv.required",
    "areq.merchant_name": "emv.required",
    "areq.accept_language": "emv.version",
}


async def test_all_that_is_wrong_is_named_at_once_by_its_path(authenticating: Authenticating) -> None:
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["Authenticate"], _wrong_everywhere())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert failure.violations == _WRONG


async def test_without_a_category_all_is_named_that_is_wrong_in_every_one(authenticating: Authenticating) -> None:
    request = _wrong_everywhere()
    request.areq.ClearField("message_category")
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["Authenticate"], request)
    # Only a payment has to name the merchant.
    assert "areq.merchant_name" not in failure.violations
    of_payments = {"areq.merchant_name": "emv.required"}
    assert {**failure.violations, **of_payments} == {**_WRONG, "areq.message_category": "emv.required"}
    assert failure.descriptions["areq.message_category"].startswith("is required: one of MESSAGE_CATEGORY_PAYMENT, ")


async def test_an_error_repeats_no_value(authenticating: Authenticating, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await THREEDS_RPCS["Authenticate"].call(authenticating.running, _wrong_everywhere())
    status = rpc_status.from_call(cast("grpc.Call", caught.value))
    assert status is not None
    logged = capsys.readouterr().out
    assert "rpc_failed" in logged
    seen = (str(caught.value), status.SerializeToString().decode(errors="replace"), logged)
    values = (*_SECRETS, "300.1.1.1", "20260231000000", "+45")
    assert [value for value in values if any(value in text for text in seen)] == []


async def test_the_simulators_error_repeats_no_value(
    authenticating: Authenticating, capsys: pytest.CaptureFixture[str]
) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0103"))
    areq.acct_number = _SECRETS[0]
    failure = await failure_of(authenticating.authenticate(areq))
    assert failure.reason == "THREE_DS_REJECTED"
    assert "acctNumber" in failure.metadata["error_detail"]
    logged = capsys.readouterr().out
    assert "rpc_failed" in logged
    seen = (repr(failure), logged)
    assert [value for value in _SECRETS if any(value in text for text in seen)] == []


async def test_violations_that_a_caller_with_default_limits_has_no_room_for_are_counted(
    authenticating: Authenticating,
) -> None:
    request = _wrong_everywhere()
    request.areq.three_ds_requestor_challenge_ind.extend(["\u00e9"] * 20_000)
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["Authenticate"], request)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert len(failure.violations) > 60
    assert re.search(r"; (19|20)[0-9]{3} more violations omitted", failure.message)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *(
            ("LookupCard", "acct_number", pan)
            for pan in ("", "9" * 12, "9" * 20, "9000 1001 1111 0003", "900010011111000x")
        ),
        *(
            ("GetChallengeResult", "three_ds_server_trans_id", trans_id)
            for trans_id in ("", "no-uuid", _TRANSACTION.replace("-", ""), _TRANSACTION + "0")
        ),
    ],
)
async def test_a_wrong_field_is_named_and_not_repeated(
    authenticating: Authenticating, name: str, field: str, value: str
) -> None:
    rpc = THREEDS_RPCS[name]
    failure = await refused_unsent(authenticating.running, rpc, changed(rpc.request, **{field: value}))
    assert set(failure.violations) == {field}
    assert not value or value not in repr(failure)


async def test_all_that_is_wrong_with_a_lookup_is_named_at_once(authenticating: Authenticating) -> None:
    request = threeds.LookupCardRequest(
        issuer_id="SHORT",
        acct_number="1",
        ds="diners",
        message_versions=[1, 0, 77],  # type: ignore[list-item]
        three_ds_method_notification_url="no url",
    )
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["LookupCard"], request)
    assert failure.reason == "INVALID_REQUEST"
    assert failure.violations == {
        "issuer_id": "string.len",
        "acct_number": "string.pattern",
        "ds": "string.in",
        "message_versions[1]": "enum.not_in",
        "message_versions[2]": "enum.defined_only",
        "three_ds_method_notification_url": "string.uri",
    }
