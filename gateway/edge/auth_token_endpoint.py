"""The token endpoint for D1 (D1 API: outbound OAuth 2.0; RFC 6749, section 4.4)."""

import base64
import binascii
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.parsing import read_body
from gateway.edge.auth_tokens import Tokens
from gateway.edge.errors import Refusal
from gateway.edge.rate_limit import Throttle
from gateway.edge.responses import json_response

__all__ = ["TokenEndpoint", "parse_basic"]

# D1 needs one token a quarter of an hour.
_WINDOW_SECONDS: Final = 60.0
_MOST_REQUESTS: Final = 120
_MOST_FAILURES: Final = 10
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenEndpoint:
    """Gives a token to the client that was agreed with D1."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._requests = Throttle(_MOST_REQUESTS, _WINDOW_SECONDS)
        self._failures = Throttle(_MOST_FAILURES, _WINDOW_SECONDS)

    def routes(self) -> list[web.RouteDef]:
        """See `gateway.edge.server.Callbacks`."""
        return [web.post(d1.TOKEN_PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Answer with a token.

        Raises:
            Refusal: 401 for wrong credentials, 429 for too many requests, 415 and 400 for what is no token request.
        """
        self._authenticate(request)
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refusal(415, "the content type must be application/x-www-form-urlencoded")
        self._check(await read_body(request))
        token = self._tokens.issue()
        expires_at = datetime.fromtimestamp(token.expires_at, UTC)
        body = {
            "access_token": token.value,
            "token_type": "Bearer",
            # Text, unlike at D1's own token endpoint.
            "expires_in": str(token.lifetime_seconds),
            "expires_at": expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        if self._tokens.client.scope:
            body["scope"] = self._tokens.client.scope
        return json_response(d1.TOKEN_STATUS, body, _NO_STORE)

    def _authenticate(self, request: web.Request) -> None:
        peer = str(request.remote)
        # Before the secret is looked at: else the answer would tell when a guess is right.
        for throttle in (self._failures, self._requests):
            seconds = throttle.wait_seconds(peer)
            if seconds:
                raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", {"Retry-After": str(seconds)})
        self._requests.take(peer)
        credentials = parse_basic(request.headers.getall(hdrs.AUTHORIZATION, []))
        if credentials is None or not self._tokens.client.matches(*credentials):
            self._failures.take(peer)
            raise Refusal(401, "invalid_client", {"WWW-Authenticate": 'Basic realm="d1-gateway"'})

    def _check(self, form: bytes) -> None:
        try:
            fields = parse_qsl(form.decode(), keep_blank_values=True)
        except UnicodeDecodeError:
            raise Refusal(400, "invalid_request") from None
        values = dict(fields)
        if len(values) != len(fields):
            raise Refusal(400, "invalid_request")
        if values.get("grant_type") != "client_credentials":
            raise Refusal(400, "unsupported_grant_type" if "grant_type" in values else "invalid_request")
        if not set(values.get("scope", "").split()) <= set(self._tokens.client.scope.split()):
            raise Refusal(400, "invalid_scope")


def parse_basic(headers: list[str]) -> tuple[str, str] | None:
    """Read client id and secret out of the one ``Authorization: Basic`` header.

    D1 encodes them in base64url; padded, unpadded and plain base64 are taken too (D1 API: outbound OAuth 2.0).

    Returns:
        Client id and secret, or None if there is no such header, more than one, or it cannot be read.
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
