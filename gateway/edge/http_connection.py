"""A connection of an HTTP server: aiohttp's, without what it tells of itself and of what it was sent."""

from abc import ABC, abstractmethod
from http import HTTPStatus

from aiohttp import hdrs, web

__all__ = ["HttpConnection"]


class HttpConnection(web.RequestHandler, ABC):
    """Reads requests off a connection, and answers them in order."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP; aiohttp's own answer would quote it, and name the versions of aiohttp and Python."""
        del message
        self.note_error(request, status, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half of an answer has been sent")
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        response = web.Response(
            status=status,
            body=b'{"error":"internal error"}' if is_ours else b'{"error":"this is no HTTP request"}',
            content_type="application/json",
            headers={hdrs.SERVER: "d1-gateway"},
        )
        response.force_close()
        return response

    @abstractmethod
    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        """Be told of what is answered so.

        Args:
            request: Nothing but where it came from.
            status: 400 for what is no HTTP; otherwise something of ours broke.
            error: Why. Its text may quote what was sent.
        """
