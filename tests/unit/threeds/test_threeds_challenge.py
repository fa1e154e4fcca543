"""What follows an ARes that is not final."""

import pytest
from google.protobuf.json_format import MessageToDict

from gateway.errors import GatewayError
from gateway.threeds.challenge import challenge, creq, decoupled, describe
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.threeds.encoding import decode

NOW = 1_700_000_000.5
ARES = ares_pb2.ARes(
    message_version=codes_pb2.MESSAGE_VERSION_2_2_0,
    trans_status=codes_pb2.TRANS_STATUS_CHALLENGE,
    three_ds_server_trans_id="d461f105-1792-407f-95ff-9a496fd918a9",
    acs_trans_id="5af5e779-4d44-4201-a2bf-4890eb9e0ba7",
    acs_url="https://acs.example/challenge",
)


def an_ares(**changes: object) -> ares_pb2.ARes:
    changed = ares_pb2.ARes(**changes)  # type: ignore[arg-type]
    ares = ares_pb2.ARes()
    ares.CopyFrom(ARES)
    for name in changes:
        ares.ClearField(name)  # type: ignore[arg-type]
    ares.MergeFrom(changed)
    return ares


def a_request(
    channel: "codes_pb2.DeviceChannel.ValueType" = codes_pb2.DEVICE_CHANNEL_BROWSER, minutes: str = ""
) -> threeds.AuthenticateRequest:
    return threeds.AuthenticateRequest(
        areq=areq_pb2.AReq(device_channel=channel, three_ds_requestor_dec_max_time=minutes),
        challenge_window_size=codes_pb2.CHALLENGE_WINDOW_SIZE_390_BY_400,
    )


def test_a_creq_names_both_transactions_the_version_and_the_window() -> None:
    field = creq(ARES, codes_pb2.CHALLENGE_WINDOW_SIZE_250_BY_400)

    assert "=" not in field
    assert decode(field) == {
        "threeDSServerTransID": "d461f105-1792-407f-95ff-9a496fd918a9",
        "acsTransID": "5af5e779-4d44-4201-a2bf-4890eb9e0ba7",
        "messageVersion": "2.2.0",
        "messageType": "CReq",
        "challengeWindowSize": "01",
    }


def test_without_a_word_on_the_window_the_challenge_has_the_full_screen() -> None:
    field = creq(ARES, codes_pb2.CHALLENGE_WINDOW_SIZE_UNSPECIFIED)

    assert decode(field)["challengeWindowSize"] == "05"


def test_a_challenge_has_to_begin_within_30_seconds() -> None:
    made = challenge(ARES, codes_pb2.CHALLENGE_WINDOW_SIZE_FULL_SCREEN, NOW)

    assert made.acs_url == "https://acs.example/challenge"
    assert made.session_data_max == 1024
    assert made.expire_time.ToMilliseconds() == 1_700_000_030_500


@pytest.mark.parametrize("missing", ["acs_url", "acs_trans_id"])
def test_a_challenge_that_cannot_be_posted_anywhere_breaks_the_contract(missing: str) -> None:
    with pytest.raises(GatewayError) as caught:
        challenge(an_ares(**{missing: ""}), codes_pb2.CHALLENGE_WINDOW_SIZE_FULL_SCREEN, NOW)

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
    assert caught.value.outcome == error_pb2.OUTCOME_UNKNOWN


def test_a_challenge_in_the_browser_is_made_ready() -> None:
    response = describe(a_request(), ARES, NOW)

    assert response.ares == ARES
    assert decode(response.challenge.creq)["challengeWindowSize"] == "02"
    assert not response.HasField("decoupled")


def test_a_challenge_in_an_app_is_the_sdks_to_make() -> None:
    response = describe(a_request(codes_pb2.DEVICE_CHANNEL_APP), an_ares(acs_url=""), NOW)

    assert list(MessageToDict(response)) == ["ares"]


@pytest.mark.parametrize(
    "status",
    [
        number
        for number in codes_pb2.TransStatus.values()
        if number not in (codes_pb2.TRANS_STATUS_CHALLENGE, codes_pb2.TRANS_STATUS_DECOUPLED)
    ],
)
def test_what_is_final_has_nothing_beside_its_ares(status: "codes_pb2.TransStatus.ValueType") -> None:
    ares = an_ares(trans_status=status)

    assert describe(a_request(), ares, NOW) == threeds.AuthenticateResponse(ares=ares)


@pytest.mark.parametrize(
    ("minutes", "seconds", "interval"),
    [("00001", 60, 5), ("00005", 300, 5), ("00060", 3600, 60), ("00300", 18_000, 300), ("10080", 604_800, 300)],
)
def test_a_decoupled_authentication_says_how_long_and_how_often_to_poll(
    minutes: str, seconds: int, interval: int
) -> None:
    made = decoupled(a_request(minutes=minutes).areq, NOW)

    assert made.poll_until_time.ToMilliseconds() == 1_700_000_000_500 + 1000 * seconds
    assert made.poll_interval.ToSeconds() == interval


@pytest.mark.parametrize("channel", codes_pb2.DeviceChannel.values()[1:])
def test_an_authentication_can_be_decoupled_in_every_channel(channel: "codes_pb2.DeviceChannel.ValueType") -> None:
    ares = an_ares(trans_status=codes_pb2.TRANS_STATUS_DECOUPLED)

    response = describe(a_request(channel, "00010"), ares, NOW)

    assert response.HasField("decoupled")
    assert not response.HasField("challenge")


def test_an_authentication_decoupled_without_leave_breaks_the_contract() -> None:
    with pytest.raises(GatewayError) as caught:
        describe(a_request(), an_ares(trans_status=codes_pb2.TRANS_STATUS_DECOUPLED), NOW)

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
