"""What a lookup and an ARes say of the next step: the version, the 3DS Method, a challenge, or when to poll."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.threeds import challenge, lookup
from gateway.threeds.lookup import choose_version, three_ds_method
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2, crd_pb2, objects_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
NOTIFICATION_URL = "https://requestor.example/3ds-method-done"
V210, V220, V231 = (codes_pb2.MESSAGE_VERSION_2_1_0, codes_pb2.MESSAGE_VERSION_2_2_0, codes_pb2.MESSAGE_VERSION_2_3_1)
NONE = codes_pb2.MESSAGE_VERSION_UNSPECIFIED
NUMBERS = {"2.1.0": V210, "2.2.0": V220, "2.3.1": V231}


def a_crd(ds: str = "-", acs: str = "-", **more: object) -> crd_pb2.CRD:
    """Make card range data with the ranges ``start-end``; an end may be empty."""
    (ds_start, ds_end), (acs_start, acs_end) = ds.split("-"), acs.split("-")
    return crd_pb2.CRD(
        three_ds_server_trans_id=TRANSACTION,
        ds_start_protocol_version=ds_start,
        ds_end_protocol_version=ds_end,
        acs_start_protocol_version=acs_start,
        acs_end_protocol_version=acs_end,
        **more,  # type: ignore[arg-type]
    )


def acs_versions(*versions: str, url: str = "") -> list[objects_pb2.AcsProtocolVersion]:
    return [objects_pb2.AcsProtocolVersion(version=version, three_ds_method_url=url) for version in versions]


@pytest.mark.parametrize(
    ("crd", "spoken", "chosen"),
    [
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1"), [], V231),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.2.0"), [], V220),
        (a_crd("2.1.0-2.2.0", "2.1.0-2.3.1"), [], V220),
        (a_crd("2.1.0-2.3.1", "2.2.0-2.2.0"), [], V220),
        (a_crd("2.1.0-2.3.1", "2.2.0-2.2.0"), [V210, V231], NONE),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1"), [V220, V210], V220),
        (a_crd("2.1.0-2.1.0", "2.2.0-2.3.1"), [], NONE),
        (a_crd("-", "2.1.0-2.1.0"), [], V210),
        (a_crd("-2.2.0", "2.1.0-"), [], V220),
        (a_crd("2.0.0-2.3.1.1", "2.1-3"), [], V231),
        (a_crd("2.3.1.1-2.4.0", "2.1.0-2.4.0"), [], NONE),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.10.0"), [], V231),
        (a_crd("x-y", "2.1.0-2.2.0"), [], V220),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1", ds_protocol_versions=["2.1.0", "2.2.0"]), [], V220),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1", acs_protocol_versions=acs_versions("2.1.0", "2.3.1")), [V220, V210], V210),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1", three_ds_server_protocol_versions=["2.1.0"]), [], V210),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1", three_ds_server_protocol_versions=["2.0.1"]), [], NONE),
        (a_crd("2.1.0-2.3.1", "2.1.0-2.3.1", acs_protocol_versions=acs_versions("")), [], V231),
    ],
)
def test_the_highest_version_that_everybody_speaks_is_chosen(
    crd: crd_pb2.CRD, spoken: "list[codes_pb2.MessageVersion.ValueType]", chosen: "codes_pb2.MessageVersion.ValueType"
) -> None:
    assert choose_version(crd, spoken) == chosen


VERSIONS = st.sampled_from(sorted(NUMBERS))


@given(VERSIONS, VERSIONS, VERSIONS, VERSIONS, st.sets(VERSIONS))
def test_no_other_version_would_have_been_better(
    ds_start: str, ds_end: str, acs_start: str, acs_end: str, spoken: set[str]
) -> None:
    crd = a_crd(f"{ds_start}-{ds_end}", f"{acs_start}-{acs_end}")

    chosen = choose_version(crd, [NUMBERS[version] for version in spoken])

    # Versions of one digit a place are in the order of their text.
    common = [
        version for version in (spoken or NUMBERS) if ds_start <= version <= ds_end and acs_start <= version <= acs_end
    ]
    assert chosen == (NUMBERS[max(common)] if common else NONE)


def test_the_3ds_method_is_that_of_the_version_where_the_acs_has_one() -> None:
    of_versions = [*acs_versions("2.1.0", url="https://acs.example/210"), *acs_versions("2.2.0")]
    crd = a_crd(three_ds_method_url="https://acs.example/any", acs_protocol_versions=of_versions)

    by_version = {version: three_ds_method(crd, version, NOTIFICATION_URL) for version in (V210, V220, V231)}

    assert {version: method.url for version, method in by_version.items() if method is not None} == {
        V210: "https://acs.example/210",
        V220: "https://acs.example/any",
        V231: "https://acs.example/any",
    }


@pytest.mark.parametrize(
    ("url", "version", "notification_url"),
    [("", V220, NOTIFICATION_URL), ("https://acs.example", NONE, NOTIFICATION_URL), ("https://acs.example", V220, "")],
)
def test_a_3ds_method_that_cannot_be_run_is_not_made_ready(
    url: str, version: "codes_pb2.MessageVersion.ValueType", notification_url: str
) -> None:
    assert three_ds_method(a_crd(three_ds_method_url=url), version, notification_url) is None


def test_a_transaction_and_its_3ds_method_expire_80_seconds_after_the_request() -> None:
    crd = a_crd("2.1.0-2.2.0", "2.1.0-2.2.0", three_ds_method_url="https://acs.example/3ds")
    request = threeds.LookupCardRequest(three_ds_method_notification_url=NOTIFICATION_URL)

    response = lookup.describe(crd, request, 1_700_000_000.25)

    assert response.enrolled
    assert response.three_ds_server_trans_id == TRANSACTION
    assert response.message_version == V220
    assert response.crd == crd
    assert response.expire_time.ToMilliseconds() == 1_700_000_080_250
    assert response.three_ds_method.expire_time == response.expire_time


@pytest.mark.parametrize(
    "status",
    sorted({*codes_pb2.TransStatus.values()} - {codes_pb2.TRANS_STATUS_CHALLENGE, codes_pb2.TRANS_STATUS_DECOUPLED}),
)
def test_what_is_final_has_nothing_beside_its_ares(status: "codes_pb2.TransStatus.ValueType") -> None:
    request = threeds.AuthenticateRequest(areq=areq_pb2.AReq(device_channel=codes_pb2.DEVICE_CHANNEL_BROWSER))
    ares = ares_pb2.ARes(trans_status=status, acs_url="https://acs.example/challenge", acs_trans_id=TRANSACTION)

    assert challenge.describe(request, ares, 0) == threeds.AuthenticateResponse(ares=ares)


def test_a_challenge_has_to_begin_within_30_seconds() -> None:
    ares = ares_pb2.ARes(message_version=V220, acs_url="https://acs.example/challenge", acs_trans_id=TRANSACTION)

    made = challenge.challenge(ares, codes_pb2.CHALLENGE_WINDOW_SIZE_FULL_SCREEN, 1_700_000_000.5)

    assert made.expire_time.ToMilliseconds() == 1_700_000_030_500


@pytest.mark.parametrize(
    ("minutes", "interval"), [(1, 5), (5, 5), (6, 6), (60, 60), (300, 300), (301, 300), (10_080, 300)]
)
def test_a_decoupled_authentication_says_how_long_and_how_often_to_poll(minutes: int, interval: int) -> None:
    made = challenge.decoupled(areq_pb2.AReq(three_ds_requestor_dec_max_time=f"{minutes:05}"), 1_700_000_000.5)

    assert made.poll_until_time.ToMilliseconds() == 1_700_000_000_500 + 60_000 * minutes
    assert made.poll_interval.ToSeconds() == interval
