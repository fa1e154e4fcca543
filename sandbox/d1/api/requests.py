"""What D1's endpoints share: request headers and bodies."""

from typing import Any, Final

from aiohttp import web

from sandbox.common.fields import json_object, optional_choice, optional_text, text
from sandbox.d1.model import contract
from sandbox.d1.model.errors import bad_request, certificate_rejected, not_found, unauthorized
from sandbox.d1.model.issuers import Issuers

__all__ = ["COMMON_NAME", "TOKEN_SUBJECT", "check_envelope", "is_v1", "json_body", "reason_v1"]

COMMON_NAME: Final = web.RequestKey("COMMON_NAME", str)
"""Request key: the common name of the request's client certificate."""
TOKEN_SUBJECT: Final = web.RequestKey("TOKEN_SUBJECT", str)
"""Request key: for whom the request's bearer token was issued."""


def is_v1(request: web.Request) -> bool:
    """Return whether a call is of version 1."""
    return request.path.startswith(contract.V1_BASE)


def check_envelope(request: web.Request, issuers: Issuers) -> None:
    """Check a call's headers and issuer.

    Raises:
        InvalidFormatError: A header or the issuer's id is malformed.
        D1Error: The issuer is unknown, or the token or the client certificate is another's.
    """
    if is_v1(request):
        optional_text(request.headers, "x-correlation-id", contract.CORRELATION_ID_V1)
    else:
        optional_text(request.headers, "x-correlation-id", contract.CORRELATION_ID)
        optional_text(request.headers, "x-user-id", contract.USER_ID)
    issuer_id = text(request.match_info, "issuerId", contract.ISSUER_ID)
    if issuer_id not in issuers:
        raise not_found("Issuer")
    if not issuers.takes_token(issuer_id, request[TOKEN_SUBJECT]):
        raise unauthorized()
    if not issuers.takes_certificate(issuer_id, request[COMMON_NAME]):
        raise certificate_rejected()


async def json_body(request: web.Request) -> dict[str, Any]:
    """Read a call's JSON object; an empty body is an empty object.

    Raises:
        D1Error: The content type is not JSON.
        MalformedBodyError: The body is not a JSON object.
    """
    data = await request.read()
    if data and request.content_type != "application/json":
        raise bad_request()
    return json_object(data)


async def reason_v1(request: web.Request) -> None:
    """Check the body of a version 1 operation: a reason and a reason code, both optional.

    Raises:
        D1Error: As for `json_body`.
        MalformedBodyError: As for `json_body`.
        InvalidFieldError: A field is invalid.
    """
    body = await json_body(request)
    optional_text(body, "reason", contract.REASON)
    optional_choice(body, "reasonCode", contract.ReasonCode)
