"""What follows an ARes that is not final: a challenge in the browser, or a decoupled authentication."""

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import GatewayError
from gateway.threeds import form_fields
from gateway.threeds.rules.codes import codes_of
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["challenge", "creq", "decoupled", "describe"]

_START_SECONDS = 30
"""Within what time after the ARes a challenge has to begin."""
_LONGEST_SESSION_DATA = 1024
"""EMV 3DS: 3DS Requestor session data, in characters of base64url."""

_POLLS = 60
_LEAST_POLL_SECONDS = 5
_GREATEST_POLL_SECONDS = 300
"""Well below the 20 minutes for which the 3DS server keeps a result."""

_VERSIONS = codes_of(codes_pb2.MessageVersion.DESCRIPTOR).by_number
_WINDOW_SIZES = codes_of(codes_pb2.ChallengeWindowSize.DESCRIPTOR).by_number


def describe(
    request: threeds.AuthenticateRequest, ares: ares_pb2.ARes, received_time: float
) -> threeds.AuthenticateResponse:
    """Tell how an authentication ended, or how it goes on.

    Args:
        request: The request.
        ares: Its answer.
        received_time: When the answer came, in seconds since 1970 (UTC).

    Raises:
        GatewayError: UPSTREAM_CONTRACT: what has to follow cannot be done with this answer.
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
) -> threeds.Challenge:
    """Make a challenge ready for the browser (EMV 3DS: challenge flow, browser channel).

    Args:
        ares: An ARes with the status C.
        window_size: How large its window is; the full screen if unspecified.
        received_time: When the ARes came, in seconds since 1970 (UTC).

    Raises:
        GatewayError: UPSTREAM_CONTRACT: the ARes lacks what a challenge needs.
    """
    if not (ares.acs_url and ares.acs_trans_id):
        raise _contradiction("The ARes asks for a challenge and does not say where.")
    return threeds.Challenge(
        acs_url=ares.acs_url,
        creq=creq(ares, window_size),
        session_data_max=_LONGEST_SESSION_DATA,
        expire_time=_timestamp(received_time + _START_SECONDS),
    )


def creq(ares: ares_pb2.ARes, window_size: "codes_pb2.ChallengeWindowSize.ValueType") -> str:
    """Write the form field ``creq``: base64url without padding (EMV 3DS: CReq, browser channel)."""
    return form_fields.encode(
        {
            "threeDSServerTransID": ares.three_ds_server_trans_id,
            "acsTransID": ares.acs_trans_id,
            "messageVersion": _VERSIONS[ares.message_version],
            "messageType": "CReq",
            "challengeWindowSize": _WINDOW_SIZES[window_size or codes_pb2.CHALLENGE_WINDOW_SIZE_FULL_SCREEN],
        }
    )


def decoupled(areq: areq_pb2.AReq, received_time: float) -> threeds.Decoupled:
    """Tell how to await the result of a decoupled authentication (EMV 3DS: decoupled authentication).

    Args:
        areq: The request, which says how many minutes it may take.
        received_time: When the ARes came, in seconds since 1970 (UTC).

    Raises:
        GatewayError: UPSTREAM_CONTRACT: the request did not ask for decoupled authentication.
    """
    if not areq.three_ds_requestor_dec_max_time:
        raise _contradiction("The ARes decouples an authentication that was not to be decoupled.")
    seconds = 60 * int(areq.three_ds_requestor_dec_max_time)
    found = threeds.Decoupled(poll_until_time=_timestamp(received_time + seconds))
    found.poll_interval.FromSeconds(min(max(seconds // _POLLS, _LEAST_POLL_SECONDS), _GREATEST_POLL_SECONDS))
    return found


def _timestamp(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMilliseconds(int(seconds * 1000))
    return made


def _contradiction(message: str) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        message,
        outcome=error_pb2.OUTCOME_UNKNOWN,
        metadata={"upstream": "threeds"},
    )
