"""AuthenticationService: an invalid request is rejected with all its violations before anything is sent."""

from typing import Any, cast

import grpc
import pytest
from grpc_status import rpc_status

from issuer.threeds.v1 import areq_pb2, codes_pb2, objects_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from tests.contract.areqs import APP, BROWSER, CARDHOLDER_NAME, EMAIL, REQUESTOR, VERSIONS, an_areq, pan_of
from tests.contract.authenticating import Authenticating
from tests.contract.authentication_rpcs import THREEDS_RPCS
from tests.contract.card_rpcs import changed
from tests.contract.d1_rpcs import refused_unsent
from tests.running import failure_of

_TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
_CHANNELS = {"BRW": BROWSER, "APP": APP, "3RI": REQUESTOR}
_SECRETS = (pan_of("0003"), CARDHOLDER_NAME, EMAIL)
_SELECTORS = {"message_version", "device_channel", "message_category"}
"""Which other fields there are, and which of them are required, depends on these."""
_OPTIONAL = {"card_expiry_date", "cardholder_name", "email"}


def _valid(version: str, channel: str) -> areq_pb2.AReq:
    return an_areq(version, pan_of("0003"), _CHANNELS[channel], three_ds_server_trans_id=_TRANSACTION)


def _required(version: str, channel: str) -> set[str]:
    """Return all fields of `_valid` but a few; only a browser's lookup comes first."""
    fields = {field.name for field, _ in _valid(version, channel).ListFields()}
    return fields - _SELECTORS - _OPTIONAL - (set() if channel == "BRW" else {"three_ds_server_trans_id"})


async def _violated(authenticating: Authenticating, areq: areq_pb2.AReq) -> dict[str, str]:
    rpc = THREEDS_RPCS["Authenticate"]
    failure = await refused_unsent(authenticating.running, rpc, threeds.AuthenticateRequest(areq=areq))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    return dict(failure.violations)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("channel", _CHANNELS)
async def test_each_required_field_that_is_missing_is_named(
    authenticating: Authenticating, channel: str, version: str
) -> None:
    for name in _required(version, channel):
        areq = changed(_valid(version, channel), **{name: None})
        assert await _violated(authenticating, areq) == {f"areq.{name}": "emv.required"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("channel", _CHANNELS)
async def test_all_that_is_missing_is_named_at_once(authenticating: Authenticating, channel: str, version: str) -> None:
    areq = areq_pb2.AReq(
        message_version=VERSIONS[version],
        device_channel=_CHANNELS[channel],
        message_category=codes_pb2.MESSAGE_CATEGORY_PAYMENT,
        browser_javascript_enabled=True if channel == "BRW" and version != "2.1.0" else None,
    )
    missing = _required(version, channel) - {"browser_javascript_enabled"}
    assert await _violated(authenticating, areq) == {f"areq.{name}": "emv.required" for name in missing}


@pytest.mark.parametrize(
    ("version", "channel", "name", "value"),
    [
        ("2.1.0", "BRW", "browser_javascript_enabled", True),
        ("2.1.0", "BRW", "three_ds_requestor_dec_req_ind", "Y"),
        ("2.2.0", "BRW", "accept_language", ["en"]),
        ("2.2.0", "APP", "sdk_type", "01"),
        ("2.3.1", "BRW", "white_list_status", "Y"),
        ("2.2.0", "BRW", "three_ri_ind", "03"),
        ("2.2.0", "BRW", "sdk_app_id", _TRANSACTION),
        ("2.2.0", "APP", "notification_url", "https://requestor.example.org"),
        ("2.2.0", "3RI", "browser_ip", "192.0.2.1"),
        ("2.2.0", "3RI", "three_ds_requestor_authentication_ind", "01"),
    ],
)
async def test_what_a_version_or_channel_does_not_have_is_refused_and_not_dropped(
    authenticating: Authenticating, version: str, channel: str, name: str, value: Any
) -> None:
    areq = _valid(version, channel)
    areq.MergeFrom(areq_pb2.AReq(**{name: value}))
    violated = await _violated(authenticating, areq)
    assert set(violated) == {f"areq.{name}"}
    assert violated[f"areq.{name}"] in {"emv.scope", "emv.version"}


async def test_the_cardholders_name_is_ascii_but_in_the_newest_version(authenticating: Authenticating) -> None:
    for version in ("2.1.0", "2.2.0"):
        areq = changed(_valid(version, "BRW"), cardholder_name="Zo\u00eb")
        assert await _violated(authenticating, areq) == {"areq.cardholder_name": "emv.ascii"}
    areq = await authenticating.looked_up_areq("2.3.1", pan_of("0103"), cardholder_name="Zo\u00eb")
    assert (await authenticating.authenticate(areq)).ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED


def _wrong_everywhere() -> threeds.AuthenticateRequest:
    """Break rules of every kind, with values that must not reappear."""
    areq = _valid("2.2.0", "BRW")
    areq.acct_number += "x"
    areq.cardholder_name += "\u00e9"
    areq.email += " "
    areq.browser_ip = "300.1.1.1"
    areq.purchase_date = "20260231000000"
    areq.purchase_currency = "999"
    areq.three_ds_comp_ind = 77  # type: ignore[assignment]
    areq.three_ri_ind = "03"
    areq.mobile_phone.CopyFrom(objects_pb2.PhoneNumber(cc="+45"))
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
}


async def test_all_that_is_wrong_is_named_at_once_by_its_path(authenticating: Authenticating) -> None:
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["Authenticate"], _wrong_everywhere())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert failure.violations == _WRONG


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


async def test_an_authentication_without_an_areq_is_refused(authenticating: Authenticating) -> None:
    assert await _violated(authenticating, areq_pb2.AReq()) == dict.fromkeys(
        ("areq.message_version", "areq.device_channel", "areq.message_category"), "emv.required"
    )


@pytest.mark.parametrize("pan", ["", "9" * 12, "9" * 20, "9000 1001 1111 0003", "900010011111000x"])
async def test_a_lookup_of_no_card_number_is_refused(authenticating: Authenticating, pan: str) -> None:
    request = threeds.LookupCardRequest(acct_number=pan)
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["LookupCard"], request)
    assert failure.violations == {"acct_number": "string.pattern"}
    assert not pan or pan not in repr(failure)


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


@pytest.mark.parametrize("trans_id", ["", "no-uuid", _TRANSACTION.replace("-", ""), _TRANSACTION + "0"])
async def test_a_result_request_without_a_transaction_id_is_refused(
    authenticating: Authenticating, trans_id: str
) -> None:
    request = threeds.GetChallengeResultRequest(three_ds_server_trans_id=trans_id)
    failure = await refused_unsent(authenticating.running, THREEDS_RPCS["GetChallengeResult"], request)
    assert set(failure.violations) == {"three_ds_server_trans_id"}
