"""How the edge refuses: an HTTP status and ``{"error": ...}`` (D1 API: outbound errors)."""

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.d1.callbacks.fields import FieldError
from gateway.edge.responses import json_response
from gateway.errors import GatewayError
from gateway.logging import correlation
from issuer.common.v1 import error_pb2

__all__ = ["Fault", "Refusal", "answer_errors", "refusal_of"]

_HTTP_STATUS = {error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE: 503, error_pb2.ERROR_REASON_STORE_UNAVAILABLE: 503}


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


class Fault(Refusal):
    """Something of ours broke: the sender learns that, and nothing else."""

    def __init__(self) -> None:
        super().__init__(500, "internal error")


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its correlation id, and every failure its status and its body."""
    given = request.headers.get(correlation.HEADER, "")
    correlation.use(given if correlation.is_valid(given) else correlation.new())
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 (the last resort: D1 gets an answer)
        refusal = refusal_of(error)
        return json_response(refusal.status, {"error": refusal.error}, refusal.headers)


def refusal_of(error: Exception) -> Refusal:
    """Tell how a callback is refused that failed with an error."""
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
            return Fault()


def _http_refusal(error: web.HTTPException) -> Refusal:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return Refusal(413, "the body is too large")
        case web.HTTPMethodNotAllowed():
            return Refusal(405, "method not allowed", {"Allow": ", ".join(sorted(error.allowed_methods))})
        case _:
            return Refusal(error.status, error.reason.lower())
