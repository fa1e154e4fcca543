"""The operators' server: metrics, probes and their page over plain HTTP. It exposes no secrets and changes nothing."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import cast

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from gateway.aio import http_server
from gateway.aio.http_server import HttpConnection
from gateway.aio.sockets import join
from gateway.telemetry.collectors import State
from gateway.telemetry.readiness import Readiness
from gateway.version import VERSION

__all__ = ["AdminServer"]

_SHUTDOWN_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class AdminServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``, and further routes."""

    def __init__(
        self,
        registry: CollectorRegistry,
        state: State,
        readiness: Readiness,
        further_routes: Iterable[web.RouteDef] = (),
    ) -> None:
        self._registry = registry
        self._state = state
        self._readiness = readiness
        app = web.Application()
        app.on_response_prepare.append(_hide_versions)
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                *further_routes,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Start to serve, on any free port if `port` is 0; return the address as ``host:port``.

        Raises:
            OSError: The port is not available.
        """
        await self._runner.setup()
        http_server.defer_continue(cast("web.Server", self._runner.server))
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._connection, host, port)
        except OSError as error:
            raise OSError(f"admin: cannot listen on {join(host, port)}: {error.strerror}") from error
        return join(host, int(self._listener.sockets[0].getsockname()[1]))

    async def stop(self) -> None:
        """Complete requests in flight, then close."""
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()

    def _connection(self) -> "_Connection":
        server = cast("web.Server", self._runner.server)
        return _Connection(server, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type] # disables it

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._state.refresh()
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(self._registry), headers={hdrs.CONTENT_TYPE: content_type})

    async def _healthz(self, request: web.Request) -> web.Response:
        del request
        # Any response proves that the process lives and its event loop runs.
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        report = await self._readiness.report()
        status = HTTPStatus.OK if report.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"ready": report.is_ready, "version": VERSION, "checks": report.checks, "circuits": report.circuits}
        return web.json_response(body, status=status)


class _Connection(HttpConnection):
    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("admin_request_failed", exc_info=error)
        else:
            # The error's text would quote the request.
            _log.warning("malformed_admin_request_rejected", peer=request.remote, error=type(error).__name__)


async def _hide_versions(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers[hdrs.SERVER] = "d1-gateway"
