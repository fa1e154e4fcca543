"""The next steps for a card enrolled in 3-D Secure: the version to use, and the 3DS Method to run first."""

import re
from collections.abc import Collection, Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.threeds import form_fields
from gateway.threeds.rules.codes import codes_of
from issuer.threeds.v1 import codes_pb2, crd_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["TRANSACTION_LIFE_SECONDS", "choose_version", "describe", "three_ds_method"]

TRANSACTION_LIFE_SECONDS = 80
"""How long the 3DS server keeps a transaction id for the Authenticate that must follow."""

_VERSIONS = codes_of(codes_pb2.MessageVersion.DESCRIPTOR).by_number
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")


def describe(crd: crd_pb2.CRD, request: threeds.LookupCardRequest, request_time: float) -> threeds.LookupCardResponse:
    """Return what the directory server knows of an enrolled card, and the next steps.

    Args:
        crd: The card range data.
        request: The request.
        request_time: When the request was sent to the 3DS server, in seconds since 1970 (UTC). The life of the
            transaction id counts from then, so that it never seems longer than it is.
    """
    expire_time = Timestamp()
    expire_time.FromMilliseconds(int((request_time + TRANSACTION_LIFE_SECONDS) * 1000))
    version = choose_version(crd, request.message_versions)
    response = threeds.LookupCardResponse(
        enrolled=True,
        three_ds_server_trans_id=crd.three_ds_server_trans_id,
        expire_time=expire_time,
        message_version=version,
        crd=crd,
    )
    method = three_ds_method(crd, version, request.three_ds_method_notification_url)
    if method is not None:
        method.expire_time.CopyFrom(expire_time)
        response.three_ds_method.CopyFrom(method)
    return response


def choose_version(
    crd: crd_pb2.CRD, supported: Collection["codes_pb2.MessageVersion.ValueType"]
) -> "codes_pb2.MessageVersion.ValueType":
    """Choose the highest version that the caller, the 3DS server, the directory server and the ACS support.

    Where card range data has both a list of versions and a range, both must include the version. A missing end of a
    range excludes nothing (EMV 3DS: card range data).

    Args:
        crd: The card range data.
        supported: The versions that the caller supports; all of the contract if empty.

    Returns:
        The version; unspecified if there is none.
    """
    ranges = (
        (crd.ds_start_protocol_version, crd.ds_end_protocol_version),
        (crd.acs_start_protocol_version, crd.acs_end_protocol_version),
    )
    lists = (
        crd.three_ds_server_protocol_versions,
        crd.ds_protocol_versions,
        [each.version for each in crd.acs_protocol_versions],
    )
    common = [
        number
        for number, version in _VERSIONS.items()
        if (not supported or number in supported)
        and all(_is_within(version, start, end) for start, end in ranges)
        and all(_is_listed(version, listed) for listed in lists)
    ]
    highest = max(common, key=lambda number: _comparable(_VERSIONS[number]), default=0)
    return codes_pb2.MessageVersion.ValueType(highest)


def three_ds_method(
    crd: crd_pb2.CRD, version: "codes_pb2.MessageVersion.ValueType", notification_url: str
) -> threeds.ThreeDSMethod | None:
    """Prepare the form of the 3DS Method (EMV 3DS: 3DS Method handling; 3DS Method data).

    Args:
        crd: The card range data.
        version: The chosen version. The ACS may have a different URL for each.
        notification_url: The URL to which the ACS posts the completion.

    Returns:
        The form, without its expiry; None if the ACS has no 3DS Method, or if it cannot be run.
    """
    url = _method_url(crd, version)
    if not (url and version and notification_url):
        return None
    data = {
        "threeDSServerTransID": crd.three_ds_server_trans_id,
        "threeDSMethodNotificationURL": notification_url,
    }
    return threeds.ThreeDSMethod(url=url, data=form_fields.encode(data))


def _method_url(crd: crd_pb2.CRD, version: "codes_pb2.MessageVersion.ValueType") -> str:
    of_version = (
        each.three_ds_method_url for each in crd.acs_protocol_versions if each.version == _VERSIONS.get(version)
    )
    return next(of_version, "") or crd.three_ds_method_url


def _is_within(version: str, start: str, end: str) -> bool:
    wanted, lowest, highest = _comparable(version), _comparable(start), _comparable(end)
    return (not lowest or lowest <= wanted) and (not highest or wanted <= highest)


def _is_listed(version: str, listed: Iterable[str]) -> bool:
    known = [each for each in listed if each]
    return not known or version in known


def _comparable(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")) if _VERSION.fullmatch(version) else ()
