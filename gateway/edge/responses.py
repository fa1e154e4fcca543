"""The edge's responses: JSON or an empty body; for a failure a status and, as a rule, ``{"error": ...}``."""

from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError
from gateway.logging import correlation
from issuer.common.v1 import error_pb2

__all__ = [
    "CallerGoneError",
    "HttpError",
    "InternalHttpError",
    "answer_errors",
    "empty_response",
    "http_error_of",
    "json_response",
]

_HTTP_STATUS = {error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE: 503, error_pb2.ERROR_REASON_STORE_UNAVAILABLE: 503}
# Without it aiohttp sends its version and Python's.
_HEADERS: Final = CIMultiDictProxy(CIMultiDict({hdrs.SERVER: "d1-gateway"}))


class HttpError(Exception):
    """A rejected request, with its HTTP status.

    The text goes to the sender and, unless `logged` replaces it, into the log. It names fields and rules, never values.
    Without a text, the response has no body.
    """

    def __init__(
        self,
        status: int,
        error: str,
        headers: dict[str, str] | None = None,
        *,
        logged: str | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.logged = error if logged is None else logged
        """The text for the log, if the sender's text is not ours and may hold what a log must not."""
        self.headers = headers
        self.cause = cause
        """What is wrong on our side; logged, never sent."""


class CallerGoneError(HttpError):
    """The sender hung up before its response, so nobody gets this one."""

    def __init__(self) -> None:
        super().__init__(499, "the caller hung up")


class InternalHttpError(HttpError):
    """A fault of the gateway. The sender learns nothing else."""

    def __init__(self) -> None:
        super().__init__(500, "internal error")


def empty_response(status: int) -> web.Response:
    """Return a response without a body."""
    return web.Response(status=status, headers=_HEADERS)


def json_response(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with a JSON body."""
    response = web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=_HEADERS)
    if headers is not None:
        response.headers.update(headers)
        if headers.get(hdrs.CONNECTION) == "close":
            response.force_close()
    return response


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the request's correlation id, and turn every failure into an error response."""
    correlation.use(correlation.received(request.headers.get(correlation.HEADER, "")))
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 (last resort: every request gets a response)
        failure = http_error_of(error)
        if not failure.error:
            return empty_response(failure.status)
        return json_response(failure.status, {"error": failure.error}, failure.headers)


def http_error_of(error: Exception) -> HttpError:
    """Return the HTTP error for an exception."""
    match error:
        case HttpError():
            return error
        case GatewayError():
            retry = error.retry_after_seconds
            headers = None if retry is None else {"Retry-After": str(max(1, round(retry)))}
            return HttpError(_HTTP_STATUS.get(error.reason, 500), error.reason_name, headers, cause=error.message)
        case web.RequestPayloadError() | ConnectionResetError():
            # Broken chunks or compression, or a sender that hung up: not a fault of the gateway.
            return HttpError(400, "the body cannot be read", {"Connection": "close"})
        case web.HTTPException():
            return _of_aiohttp(error)
        case _:
            return InternalHttpError()


def _of_aiohttp(error: web.HTTPException) -> HttpError:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return HttpError(413, "the body is too large")
        case web.HTTPMethodNotAllowed():
            return HttpError(405, "method not allowed", {"Allow": ", ".join(sorted(error.allowed_methods))})
        case _:
            return HttpError(error.status, error.reason.lower())
