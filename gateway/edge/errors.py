"""How the edge refuses: an HTTP status and ``{"error": ...}`` (D1 API: outbound errors)."""

import re

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import correlation
from gateway.edge.answers import json_response
from gateway.errors import GatewayError
from gateway.fields import FieldError
from issuer.common.v1 import error_pb2

__all__ = ["Refusal", "answer_errors"]

_log = structlog.get_logger(__name__)
# An id, and not what a stranger may have put in its place: a card number.
_ID = re.compile(r"(?![0-9]{10})[A-Za-z0-9_-]{1,64}")
_SNAKE = {
    "issuerId": "issuer_id",
    "cardId": "card_id",
    "consumerId": "consumer_id",
    "authenticationId": "authentication_id",
}
_HTTP_STATUS = {error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE: 503}


class Refusal(Exception):  # noqa: N818 (nothing is wrong with the gateway)
    """A callback that is not taken.

    The text goes to the sender and, unless another one is given for it, into the log: it names fields and rules, never
    values.
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
        """The text for the log, where the sender's is not ours and may say more than a log should hold."""
        self.headers = headers
        self.cause = cause
        """What is at fault on our side: for the log, none of the sender's business."""


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its correlation id, and every failure its status, its body and its log line."""
    given = request.headers.get(correlation.HEADER, "")
    correlation.use(given if correlation.is_valid(given) else correlation.new())
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 (the last resort: D1 gets an answer, the log a line)
        refusal = _refusal(error)
        if refusal is None:
            _log.exception("callback broke", callback=_callback(request))
            refusal = Refusal(500, "internal error")
    _log.warning(
        "callback refused",
        callback=_callback(request),
        method=request.method,
        status=refusal.status,
        error=refusal.logged,
        **_facts(request, refusal),
    )
    return json_response(refusal.status, {"error": refusal.error}, refusal.headers)


def _facts(request: web.Request, refusal: Refusal) -> dict[str, str]:
    """Return what helps to fetch from D1 what was refused: the ids in the path, once they look like ids."""
    ids = {_SNAKE[name]: value for name, value in request.match_info.items() if name in _SNAKE and _ID.fullmatch(value)}
    return {**ids, "cause": refusal.cause} if refusal.cause else ids


def _refusal(error: Exception) -> Refusal | None:
    match error:
        case Refusal():
            return error
        case FieldError():
            return Refusal(400, str(error))
        case GatewayError():
            retry = error.retry_after_seconds
            headers = None if retry is None else {"Retry-After": str(max(1, round(retry)))}
            return Refusal(_HTTP_STATUS.get(error.reason, 500), error.reason_name, headers, cause=error.message)
        case web.RequestPayloadError() | ConnectionResetError():
            # Broken chunks or compression, or a sender that hung up: nothing of ours is at fault.
            return Refusal(400, "the body cannot be read", {"Connection": "close"})
        case web.HTTPException():
            return _http_refusal(error)
        case _:
            return None


def _http_refusal(error: web.HTTPException) -> Refusal:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return Refusal(413, "the body is too large")
        case web.HTTPMethodNotAllowed():
            return Refusal(405, "method not allowed", {"Allow": ", ".join(sorted(error.allowed_methods))})
        case _:
            return Refusal(error.status, error.reason.lower())


def _callback(request: web.Request) -> str:
    # The route's pattern, not the path: what a stranger writes into a path does not belong in the log.
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
