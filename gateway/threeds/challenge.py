"""The next step after an ARes that is not final: a browser challenge or decoupled authentication."""

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import GatewayError
from gateway.threeds import form_fields
from gateway.threeds.rules.codes import codes_of
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["challenge", "creq", "decoupled", "describe"]

_START_SECONDS = 30
"""The time after the ARes within which a challenge must start."""
_MAX_SESSION_DATA = 1024
"""The limit of 3DS Requestor session data (EMV 3DS), in characters of base64url."""

_POLLS = 60
_MIN_POLL_SECONDS = 5
_MAX_POLL_SECONDS = 300
"""Well below the 20 minutes for which the 3DS server keeps a result."""

_VERSIONS = codes_of(codes_pb2.MessageVersion.DESCRIPTOR).by_number
_WINDOW_SIZES = codes_of(codes_pb2.ChallengeWindowSize.DESCRIPTOR).by_number


def describe(
    request: threeds.AuthenticateRequest, ares: ares_pb2.ARes, received_time: float
) -> threeds.AuthenticateResponse:
    """Return the result of an authentication, or its next step.

    Args:
        request: The request.
        ares: The ARes.
        received_time: When the ARes arrived, in seconds since 1970 (UTC).

    Raises:
        GatewayError: UPSTREAM_CONTRACT: the ARes does not allow the next step.
    """
    response = threeds.AuthenticateResponse(ares=ares)
    in_browser = request.areq.device_channel == codes_pb2.DEVICE_CHANNEL_BROWSER
    if ares.trans_status == codes_pb2.TRANS_STATUS_CHALLENGE and in_browser:
        response.challenge.CopyFrom(challenge(ares, request.challenge_window_size, received_time))
    elif ares.trans_status == codes_pb2.TRANS_STATUS_DECOUPLED:
        response.decoupled.CopyFrom(decoupled(request.areq, received_time))
    return response


def challenge(
    ares: ares_pb2.ARes, window_size: "codes_pb2.ChallengeWindowSize.ValueType", received_time: float
) -> threeds.BrowserChallenge:
    """Prepare a challenge for the browser (EMV 3DS: challenge flow, browser channel).

    Args:
        ares: An ARes with status C.
        window_size: The size of the challenge window; full screen if unspecified.
        received_time: When the ARes arrived, in seconds since 1970 (UTC).

    Raises:
        GatewayError: UPSTREAM_CONTRACT: the ARes lacks data for the challenge.
    """
    if not (ares.acs_url and ares.acs_trans_id):
        raise _contradiction("The ARes requires a challenge but has no ACS URL or transaction id.")
    return threeds.BrowserChallenge(
        acs_url=ares.acs_url,
        creq=creq(ares, window_size),
        max_session_data_length=_MAX_SESSION_DATA,
        expire_time=_timestamp(received_time + _START_SECONDS),
    )


def creq(ares: ares_pb2.ARes, window_size: "codes_pb2.ChallengeWindowSize.ValueType") -> str:
    """Return the form field ``creq``: base64url without padding (EMV 3DS: CReq, browser channel)."""
    return form_fields.encode(
        {
            "threeDSServerTransID": ares.three_ds_server_trans_id,
            "acsTransID": ares.acs_trans_id,
            "messageVersion": _VERSIONS[ares.message_version],
            "messageType": "CReq",
            "challengeWindowSize": _WINDOW_SIZES[window_size or codes_pb2.CHALLENGE_WINDOW_SIZE_FULL_SCREEN],
        }
    )


def decoupled(areq: areq_pb2.AReq, received_time: float) -> threeds.DecoupledAuthentication:
    """Return how to poll for the result of a decoupled authentication (EMV 3DS: decoupled authentication).

    Args:
        areq: The request, with the time limit in minutes.
        received_time: When the ARes arrived, in seconds since 1970 (UTC).

    Raises:
        GatewayError: UPSTREAM_CONTRACT: the request does not allow decoupled authentication.
    """
    if not areq.three_ds_requestor_dec_max_time:
        raise _contradiction("The ARes decouples the authentication, which the AReq does not allow.")
    seconds = 60 * int(areq.three_ds_requestor_dec_max_time)
    polling = threeds.DecoupledAuthentication(poll_until_time=_timestamp(received_time + seconds))
    polling.poll_interval.FromSeconds(min(max(seconds // _POLLS, _MIN_POLL_SECONDS), _MAX_POLL_SECONDS))
    return polling


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(int(seconds * 1000))
    return timestamp


def _contradiction(message: str) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        message,
        outcome=error_pb2.ERROR_OUTCOME_UNKNOWN,
        detail=error_pb2.ErrorDetail(upstream="threeds"),
    )
