"""D1's HTTP API: the routes, with faults, error responses and the bearer token check around them."""

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.common.faults import Faults, fault_middleware
from sandbox.common.fields import InvalidFieldError, InvalidValueError, MalformedBodyError
from sandbox.d1.api.requests import COMMON_NAME, TOKEN_SUBJECT, is_v1
from sandbox.d1.api.token import AccessTokens, TokenEndpoint
from sandbox.d1.model.contract import TOKEN_PATH, Operation
from sandbox.d1.model.errors import D1Error, bad_request, unauthorized

__all__ = ["make_d1_app"]


def make_d1_app(
    token_endpoint: TokenEndpoint, tokens: AccessTokens, routes: Iterable[web.RouteDef], faults: Faults
) -> web.Application:
    """Return the application to serve over mutual TLS.

    Args:
        token_endpoint: The endpoint of Get token.
        tokens: The tokens that every other call requires.
        routes: All other endpoints, named after their operations.
        faults: The faults on demand.
    """
    app = web.Application(middlewares=[_identify, fault_middleware(faults), _error_middleware, _authorise(tokens)])
    app.add_routes([web.post(TOKEN_PATH, token_endpoint.get_token, name=Operation.GET_TOKEN.value), *routes])
    return app


@web.middleware
async def _identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    # Before any delay: the connection forgets the certificate when it is lost.
    subject = request.get_extra_info("peercert")["subject"]
    request[COMMON_NAME] = next(value for part in subject for name, value in part if name == "commonName")
    return await handler(request)


@web.middleware
async def _error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except D1Error as error:
        failure = error
    except InvalidFieldError as error:
        code = "FIELD_INVALID_VALUE" if isinstance(error, InvalidValueError) else "FIELD_INVALID_FORMAT"
        failure = bad_request(error.field, code)
    except MalformedBodyError:
        failure = bad_request()
    except web.HTTPException as error:
        failure = D1Error(error.status, error.reason)
    body = failure.body_v1() if is_v1(request) else failure.body()
    return web.json_response(body, status=failure.status) if body else web.Response(status=failure.status)


def _authorise(tokens: AccessTokens) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.route.name != Operation.GET_TOKEN:
            authorization = request.headers.get("Authorization")
            if authorization is None:
                raise unauthorized("Authorization header is missing")
            subject = tokens.subject(authorization)
            if subject is None:
                raise unauthorized()
            request[TOKEN_SUBJECT] = subject
        return await handler(request)

    return middleware
