"""What an adapter tells the edge of the card platform that calls it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from gateway.edge.auth_tokens import Token

__all__ = ["PlatformCallbacks", "TokenBody", "standard_token_body"]

TokenBody: TypeAlias = Callable[[Token, str], Mapping[str, str | int]]
"""Makes the response of the token endpoint out of a token and its scope, which is empty if none was agreed."""


def standard_token_body(token: Token, scope: str) -> Mapping[str, str | int]:
    """Return the response of RFC 6749, section 5.1."""
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
    """The path and the handler of each callback. An issuer's id in a path is named ``{issuerId}``."""
    quiet_routes: frozenset[str] = frozenset()
    """The paths whose successes are logged at debug level only."""
    token_path: str = "/oauth2/token"  # noqa: S105 (a path)
    """Where the platform fetches bearer tokens, if OAuth was agreed with it."""
    token_body: TokenBody = standard_token_body
    """Makes the response that the platform expects there."""
