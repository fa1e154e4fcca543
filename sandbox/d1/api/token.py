"""D1's access tokens (D1 API: OAuth 2.0 access token; RFC 7523): an assertion in exchange for a bearer token."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol

from sandbox.common.fields import json_object
from sandbox.d1.api.requests import COMMON_NAME
from sandbox.d1.model.contract import GRANT_TYPE, STATUS_ASSERTION_REJECTED, TOKEN_LIFETIME_SECONDS
from sandbox.d1.model.errors import D1Error, bad_request, certificate_rejected, unauthorized
from sandbox.d1.model.issuers import Issuers

__all__ = ["AccessTokens", "AssertionVerifier", "TokenEndpoint"]


class AssertionVerifier:
    """Verifies the issuers' assertions."""

    def __init__(self, issuers: Issuers, keys: Mapping[str, ECKey], clock: Callable[[], float]) -> None:
        """Trust issuers.

        Args:
            issuers: The issuers and aggregators that ``iss`` and ``sub`` may name.
            keys: The issuers' public keys by ``kid``; several during a rotation.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._issuers = issuers
        self._keys = keys
        self._clock = clock

    def verify(self, assertion: str, common_name: str) -> str:
        """Verify an assertion: ES256 with a registered key, a known ``iss`` and ``sub``, ``exp`` within 15 minutes.

        Args:
            assertion: The assertion.
            common_name: Common name of the client certificate, which must be that of the issuer or the aggregator.

        Returns:
            The id of the issuer or the aggregator.

        Raises:
            D1Error: The assertion is invalid, or comes over another one's connection.
        """
        claims = self._verified_claims(assertion)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not self._issuers.may_get_token(subject) or claims.get("iss") != subject:
            raise _rejected("iss and sub must be the issuer, or its aggregator")
        if not self._issuers.takes_certificate(subject, common_name):
            raise certificate_rejected()
        expiry = claims.get("exp")
        if not isinstance(expiry, int):
            raise _rejected("exp must be a number of seconds")
        if not 0 < expiry - self._clock() <= TOKEN_LIFETIME_SECONDS:
            raise _rejected("exp must be in the future, by 15 minutes at most")
        return subject

    def _verified_claims(self, assertion: str) -> dict[str, Any]:
        try:
            return jwt.decode(assertion, self._key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            raise _rejected("Assertion is not signed with ES256 by the registered key") from None

    def _key(self, signature: GuestProtocol) -> ECKey:
        header = signature.headers()
        if header.get("typ", "JWT") != "JWT":
            raise _rejected("typ must be JWT")
        try:
            return self._keys[header["kid"]]
        except (KeyError, TypeError):
            raise _rejected("kid is not registered") from None


class AccessTokens:
    """The tokens issued and not yet expired."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._issued: dict[str, tuple[float, str]] = {}

    def issue(self, subject: str) -> str:
        """Issue a token valid for 15 minutes."""
        now = self._clock()
        self._issued = {token: issued for token, issued in self._issued.items() if issued[0] > now}
        token = secrets.token_urlsafe(32)
        self._issued[token] = now + TOKEN_LIFETIME_SECONDS, subject
        return token

    def subject(self, authorization: str) -> str | None:
        """Return for whom the token in an ``Authorization`` header was issued; None if it is not valid."""
        scheme, _, token = authorization.partition(" ")
        expiry, subject = self._issued.get(token, (0.0, ""))
        return subject if scheme.lower() == "bearer" and expiry > self._clock() else None

    def expire_all(self) -> None:
        """Invalidate all tokens issued so far."""
        self._issued.clear()


class TokenEndpoint:
    """The endpoint of Get token."""

    def __init__(self, assertions: AssertionVerifier, tokens: AccessTokens) -> None:
        self._assertions = assertions
        self._tokens = tokens

    async def get_token(self, request: web.Request) -> web.Response:
        """Exchange an assertion, in a form or in JSON, for a token."""
        parameters = await _parameters(request)
        assertion = parameters.get("assertion")
        if parameters.get("grant_type") != GRANT_TYPE or not isinstance(assertion, str) or not assertion:
            raise bad_request()
        subject = self._assertions.verify(assertion, request[COMMON_NAME])
        return web.json_response(
            {
                "access_token": self._tokens.issue(subject),
                "expires_in": TOKEN_LIFETIME_SECONDS,
                "scope": "d1",
                "token_type": "Bearer",
            },
            headers={"Cache-Control": "no-store"},
        )


async def _parameters(request: web.Request) -> Mapping[str, Any]:
    if request.content_type == "application/json":
        return json_object(await request.read())
    if request.content_type == "application/x-www-form-urlencoded":
        return await request.post()
    raise bad_request()


def _rejected(reason: str) -> D1Error:
    return unauthorized(reason, STATUS_ASSERTION_REJECTED)
