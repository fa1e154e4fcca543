"""What an adapter declares about the card platform whose callbacks the edge serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiohttp import web

from gateway.edge.auth_tokens import Token
from gateway.ports import CallbackOutcome

__all__ = ["CALLBACK_OUTCOME", "PlatformCallbacks", "TokenBody", "standard_token_body"]

CALLBACK_OUTCOME: Final = web.RequestKey("CALLBACK_OUTCOME", CallbackOutcome)
"""Request key: how the request's callback request ended, for the log."""

TokenBody: TypeAlias = Callable[[Token, str], Mapping[str, str | int]]
"""Builds the token endpoint's response body from a token and its scope (empty if none was agreed)."""


def standard_token_body(token: Token, scope: str) -> Mapping[str, str | int]:
    """Return the response body of RFC 6749, section 5.1."""
    body: dict[str, str | int] = {
        "access_token": token.value,
        "token_type": "Bearer",
        "expires_in": token.lifetime_seconds,
    }
    if scope:
        body["scope"] = scope
    return body


@dataclass(frozen=True, slots=True)
class PlatformCallbacks:
    """The callbacks of one card platform."""

    routes: Sequence[web.RouteDef]
    """Path and handler of each callback. The path parameter of an issuer's id is named ``{issuerId}``: a bearer
    token is checked against it."""
    quiet_routes: frozenset[str] = frozenset()
    """Paths whose successful requests are logged at debug level only."""
    token_path: str = "/oauth2/token"  # noqa: S105 (a path)
    """Path of the token endpoint, used if OAuth was agreed with the platform."""
    token_body: TokenBody = standard_token_body
    """Builds the response that the platform expects from the token endpoint."""
