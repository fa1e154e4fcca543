"""OAuth 2.0 for the card platform: the token endpoint, and the check of its bearer tokens.

Client credentials grant: RFC 6749, section 4.4. Bearer tokens: RFC 6750. TLS has already authenticated the client by
certificate.
"""

import base64
import binascii
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from gateway.edge.auth_tokens import Client, Tokens
from gateway.edge.platform import TokenBody
from gateway.edge.rate_limit import RateLimit
from gateway.edge.request_body import read_body
from gateway.edge.responses import HttpError, json_response

__all__ = ["TokenEndpoint", "parse_basic", "require_bearer"]

# A client needs one token in a quarter of an hour.
_WINDOW_SECONDS: Final = 60.0
_MAX_REQUESTS: Final = 120
_MAX_FAILURES: Final = 10
_NOBODY: Final = Client("", "0" * 64, "")
"""Whose secret is compared if the client is unknown, so that this takes as long."""
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenEndpoint:
    """Issues tokens to the clients whose credentials are configured."""

    def __init__(self, tokens: Tokens, *, path: str, body: TokenBody) -> None:
        self.tokens = tokens
        self.path = path
        self._body = body
        self._requests = RateLimit(_MAX_REQUESTS, _WINDOW_SECONDS)
        self._failures = RateLimit(_MAX_FAILURES, _WINDOW_SECONDS)

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoint's route."""
        return [web.post(self.path, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Issue a token.

        Raises:
            HttpError: 401 for wrong credentials, 429 for too many requests, 415 or 400 for a malformed request.
        """
        client = self._authenticate(request)
        if request.content_type != "application/x-www-form-urlencoded":
            raise HttpError(415, "the content type must be application/x-www-form-urlencoded")
        _check(client, await read_body(request))
        body = self._body(self.tokens.issue(client), client.scope)
        return json_response(HTTPStatus.OK, body, _NO_STORE)

    def _authenticate(self, request: web.Request) -> Client:
        credentials = parse_basic(request.headers.getall(hdrs.AUTHORIZATION, []))
        client = None if credentials is None else self.tokens.clients.named(credentials[0])
        # Limited for each client: those of all issuers come from the same addresses, and a wrong secret of one must not
        # keep the others from their tokens.
        peer = f"{request.remote} {'' if client is None else client.client_id}"
        # Checked before the secret, because the response must not reveal that a guess is right.
        for limit in (self._failures, self._requests):
            seconds = limit.wait_seconds(peer)
            if seconds:
                raise HttpError(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", {"Retry-After": str(seconds)})
        self._requests.take(peer)
        secret = "" if credentials is None else credentials[1]
        if not (client or _NOBODY).has_secret(secret) or client is None:
            self._failures.take(peer)
            cause = "" if client is None else f"the secret is not that of the client {client.client_id}"
            raise HttpError(401, "invalid_client", {"WWW-Authenticate": 'Basic realm="d1-gateway"'}, cause=cause)
        return client


def _check(client: Client, form: bytes) -> None:
    try:
        fields = parse_qsl(form.decode(), keep_blank_values=True)
    except UnicodeDecodeError:
        raise HttpError(400, "invalid_request") from None
    values = dict(fields)
    if len(values) != len(fields):
        raise HttpError(400, "invalid_request")
    if values.get("grant_type") != "client_credentials":
        raise HttpError(400, "unsupported_grant_type" if "grant_type" in values else "invalid_request")
    if not set(values.get("scope", "").split()) <= set(client.scope.split()):
        raise HttpError(400, "invalid_scope")


def require_bearer(endpoint: TokenEndpoint) -> Middleware:
    """Return the middleware that rejects requests without a valid token, except to the token endpoint.

    A token is valid for the callbacks that its client makes: those of its issuer.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != endpoint.path:
            _authorize(request, endpoint.tokens)
        return await handler(request)

    return check


def _authorize(request: web.Request, tokens: Tokens) -> None:
    client = _bearer(request, tokens)
    cause = ""
    # A path that leads nowhere is of no issuer, and a client with a token may learn that.
    if client is not None and request.match_info.http_exception is None:
        expected = tokens.clients.of_issuer(request.match_info.get("issuerId", ""))
        if client is not expected:
            cause = f"the token is of the client {client.client_id}, not of the one that makes this issuer's callbacks"
    if client is None or cause:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise HttpError(401, "a valid bearer token is required", headers, cause=cause)


def _bearer(request: web.Request, tokens: Tokens) -> Client | None:
    """Return the client whose valid token a request has; None if it has none."""
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(values) != 1:
        return None
    scheme, _, value = values[0].partition(" ")
    # D1's documentation shows the scheme with a colon, too (D1 API: outbound card API).
    return tokens.client_of(value.strip()) if scheme.lower() in {"bearer", "bearer:"} else None


def parse_basic(headers: list[str]) -> tuple[str, str] | None:
    """Parse an ``Authorization: Basic`` header; accepts base64url, padded or not, and plain base64.

    Returns:
        Client id and secret; None if the header is missing, repeated or malformed.
    """
    if len(headers) != 1:
        return None
    scheme, _, encoded = headers[0].partition(" ")
    if scheme.lower() != "basic":
        return None
    plain = encoded.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    client_id, colon, secret = decoded.partition(":")
    return (client_id, secret) if colon else None
