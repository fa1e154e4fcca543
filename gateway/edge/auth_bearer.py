"""Who may call back.

The TLS layer lets in nobody without a client certificate of the configured CA. Where OAuth was agreed with D1, every
callback needs a bearer token of our own token endpoint besides (RFC 6750).
"""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from adapters.d1.callbacks import schema as d1
from gateway.edge.auth_tokens import Tokens
from gateway.edge.errors import Refusal

__all__ = ["require_bearer"]


def require_bearer(tokens: Tokens) -> Middleware:
    """Make the middleware that refuses a callback without a valid token."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != d1.TOKEN_PATH and not _is_authorized(request, tokens):
            raise Refusal(401, "a valid bearer token is required", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return await handler(request)

    return check


def _is_authorized(request: web.Request, tokens: Tokens) -> bool:
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(given) != 1:
        return False
    scheme, _, value = given[0].partition(" ")
    return scheme.lower() == "bearer" and tokens.is_valid(value.strip())
