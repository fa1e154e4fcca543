"""D1's HTTP API put together: routes, and around them faults, refusals and the bearer token."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.d1.cards import CardEndpoints
from sandbox.d1.contract import TOKEN_PATH, Operation
from sandbox.d1.errors import D1Error, bad_request, unauthorized
from sandbox.d1.token import AccessTokens, TokenEndpoint
from sandbox.faults import Faults, fault_middleware
from sandbox.fields import InvalidFieldError, InvalidValueError, MalformedBodyError

__all__ = ["make_d1_app"]


def make_d1_app(
    token_endpoint: TokenEndpoint, tokens: AccessTokens, cards: CardEndpoints, faults: Faults
) -> web.Application:
    """Make the application that is to be served over mutual TLS."""
    app = web.Application(middlewares=[fault_middleware(faults), _refuse, _authorise(tokens)])
    app.add_routes([web.post(TOKEN_PATH, token_endpoint.get_token, name=Operation.GET_TOKEN.value), *cards.routes()])
    return app


@web.middleware
async def _refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except D1Error as error:
        return _refusal(error)
    except InvalidFieldError as error:
        code = "FIELD_INVALID_VALUE" if isinstance(error, InvalidValueError) else "FIELD_INVALID_FORMAT"
        return _refusal(bad_request(error.field, code))
    except MalformedBodyError:
        return _refusal(bad_request())
    except web.HTTPException as error:
        return _refusal(D1Error(error.status, error.reason))


def _authorise(tokens: AccessTokens) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.route.name != Operation.GET_TOKEN:
            authorization = request.headers.get("Authorization")
            if authorization is None:
                raise unauthorized("Authorization header is missing")
            if not tokens.accepts(authorization):
                raise unauthorized()
        return await handler(request)

    return middleware


def _refusal(error: D1Error) -> web.Response:
    body = error.body()
    return web.json_response(body, status=error.status) if body else web.Response(status=error.status)
