"""The messages of the directory server and the ACS, as JSON."""

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any

from sandbox.threeds.cards import Method
from sandbox.threeds.contract import AUTHENTICATED, VERSIONS
from sandbox.threeds.transaction import Authentication, Transaction, Verdict

__all__ = ["make_ares", "make_crd", "make_cres", "make_rreq"]

_ECI: Mapping[str, Mapping[str, str]] = {"mastercard": {"Y": "02", "A": "01"}}
_OTHER_ECI: Mapping[str, str] = {"Y": "05", "A": "06"}

_AUTHENTICATION_AVAILABLE, _ATTEMPTS_SUPPORTED, _DECOUPLED_SUPPORTED = "01", "02", "03"


def make_crd(transaction: Transaction, method_url: str) -> dict[str, Any]:
    """Return the card range data.

    Args:
        transaction: The transaction of /preauth.
        method_url: The URL of the 3DS Method, for cards that have it.
    """
    card = transaction.card
    info = [_AUTHENTICATION_AVAILABLE, _ATTEMPTS_SUPPORTED]
    if card.outcome.status == "D":
        info.append(_DECOUPLED_SUPPORTED)
    method = {} if card.method is Method.ABSENT else {"threeDSMethodURL": method_url}
    return {
        "messageType": "CRD",
        "threeDSServerTransID": transaction.trans_id,
        "scheme": transaction.scheme,
        "dsStartProtocolVersion": VERSIONS[0],
        "dsEndProtocolVersion": VERSIONS[-1],
        "dsProtocolVersions": list(VERSIONS),
        "acsStartProtocolVersion": card.versions[0],
        "acsEndProtocolVersion": card.versions[-1],
        "acsProtocolVersions": [{"version": version, "acsInfoInd": info, **method} for version in card.versions],
        "threeDSServerProtocolVersions": list(VERSIONS),
        "acsInfoInd": info,
        **method,
    }


def make_ares(transaction: Transaction, of: Authentication, verdict: Verdict, acs_url: str) -> dict[str, Any]:
    """Return the ARes to an AReq.

    Args:
        transaction: Its transaction.
        of: The AReq's data.
        verdict: The ACS's verdict.
        acs_url: The URL of the challenge.
    """
    ares = {
        "messageType": "ARes",
        "messageVersion": of.version,
        "threeDSServerTransID": transaction.trans_id,
        "acsTransID": of.acs_trans_id,
        "dsTransID": of.ds_trans_id,
        "acsReferenceNumber": "SANDBOX-ACS-0001",
        "dsReferenceNumber": "SANDBOX-DS-0001",
        "acsOperatorID": "SANDBOX-ACS",
        **_result(transaction.scheme, of, verdict),
        **_app(of),
    }
    if verdict.status == "C":
        ares |= {"acsChallengeMandated": "Y", **_method(of, decoupled=False), **_challenge(of, acs_url)}
    elif verdict.status == "D":
        ares |= {"acsChallengeMandated": "Y", "acsDecConInd": "Y", "cardholderInfo": _info(of)}
        ares |= _method(of, decoupled=True)
    elif verdict.status in {"Y", "N"} and of.version == "2.3.1":
        ares["authenticationMethod"] = ["10"]  # other: without the cardholder
    return ares


def make_rreq(transaction: Transaction, verdict: Verdict) -> dict[str, Any]:
    """Return the RReq of a challenge or decoupled authentication.

    Raises:
        ValueError: The transaction has neither.
    """
    of = transaction.authentication
    if of is None:
        raise ValueError("no AReq was answered")
    rreq = {
        "messageType": "RReq",
        "messageVersion": of.version,
        "messageCategory": of.category,
        "threeDSServerTransID": transaction.trans_id,
        "acsTransID": of.acs_trans_id,
        "dsTransID": of.ds_trans_id,
        **_result(transaction.scheme, of, verdict),
    }
    if verdict.status in {"Y", "N"}:
        rreq |= _method(of, decoupled=transaction.decoupled)
    if verdict.cancel is not None:
        rreq["challengeCancel"] = verdict.cancel
    if of.channel != "03":
        has_decided = verdict.cancel is None and not transaction.decoupled
        rreq["interactionCounter"] = "01" if has_decided else "00"
    if of.channel == "01":
        rreq["acsRenderingType"] = _RENDERING
        if of.version != "2.1.0":
            rreq["sdkTransID"] = of.sdk_trans_id
    return rreq


def make_cres(transaction: Transaction, of: Authentication, verdict: Verdict) -> dict[str, Any]:
    """Return the CRes with which a browser returns from a challenge."""
    return {
        "messageType": "CRes",
        "messageVersion": of.version,
        "threeDSServerTransID": transaction.trans_id,
        "acsTransID": of.acs_trans_id,
        "transStatus": verdict.status,
    }


_RENDERING = {"acsInterface": "01", "acsUiTemplate": "01"}


def _result(scheme: str, of: Authentication, verdict: Verdict) -> dict[str, Any]:
    result = {"transStatus": verdict.status}
    if verdict.reason is not None:
        result["transStatusReason"] = verdict.reason
    if verdict.status in AUTHENTICATED:
        result["eci"] = _ECI.get(scheme, _OTHER_ECI)[verdict.status]
        if of.category != "02":
            result["authenticationValue"] = base64.b64encode(secrets.token_bytes(20)).decode()
    return result


def _method(of: Authentication, *, decoupled: bool) -> dict[str, Any]:
    """Return the authentication method: 2.3.1 names methods, earlier versions a type."""
    if of.version == "2.3.1":
        login_elsewhere, text_message = "08", "02"
        return {"authenticationMethod": [login_elsewhere if decoupled else text_message]}
    return {"authenticationType": "04" if decoupled else "02"}


def _challenge(of: Authentication, acs_url: str) -> dict[str, Any]:
    if of.channel == "02":
        return {"acsURL": acs_url}
    return {"acsRenderingType": _RENDERING, "acsSignedContent": _unverifiable(of)}


def _unverifiable(of: Authentication) -> str:
    """Return a value that looks like a JWS (RFC 7515, section 7.1) but is not one: no SDK is simulated."""
    content = json.dumps({"acsTransID": of.acs_trans_id}).encode()
    parts = (b'{"alg":"PS256"}', content, secrets.token_bytes(256))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _app(of: Authentication) -> dict[str, Any]:
    if of.channel != "01":
        return {}
    if of.version != "2.3.1":
        return {"sdkTransID": of.sdk_trans_id}
    return {
        "sdkTransID": of.sdk_trans_id,
        "threeDSRequestorAppURLInd": "N",
        "deviceInfoRecognisedVersion": "1.6",
    }


def _info(of: Authentication) -> Any:
    text = "Please confirm in your banking app"
    return {"text": text} if of.version == "2.3.1" else text
