"""The port for operators: metrics and probes, over plain HTTP. It serves no secrets and changes nothing."""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder

from gateway.addresses import join
from gateway.telemetry.report import Reporting

__all__ = ["AdminServer", "Refreshed"]

_SHUTDOWN_SECONDS = 1.0


class Refreshed(Protocol):
    """What has to be read off something before each scrape."""

    async def refresh(self) -> None:
        """Read it."""
        ...


class AdminServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``."""

    def __init__(self, registry: CollectorRegistry, state: Refreshed, readiness: Reporting) -> None:
        """Assemble the server.

        Args:
            registry: What a scrape gets.
            state: Refreshed before each scrape.
            readiness: What ``/readyz`` asks.
        """
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
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)

    async def start(self, host: str, port: int) -> str:
        """Begin to serve.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes a free one.

        Returns:
            Where it listens: ``host:port``.

        Raises:
            OSError: The port cannot be had.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise OSError(f"admin: cannot listen on {join(host, port)}: {error.strerror}") from error
        return join(host, int(self._runner.addresses[0][1]))

    async def start_at(self, path: Path) -> str:
        """Begin to serve on a Unix domain socket, for the supervisor of this process.

        Args:
            path: Where it is made.

        Returns:
            The same.

        Raises:
            OSError: It cannot be made.
        """
        await self._runner.setup()
        await web.UnixSite(self._runner, path).start()
        return str(path)

    async def leave_metrics(self, file: Path) -> None:
        """Write what a scrape would get, in the Prometheus text format: the last word of a process that ends."""
        await self._state.refresh()
        # Nobody may be there any more to read it.
        with suppress(OSError):
            await asyncio.to_thread(_write, file, generate_latest(self._registry))

    async def stop(self) -> None:
        """Answer what was asked, then close."""
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._state.refresh()
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(self._registry), headers={hdrs.CONTENT_TYPE: content_type})

    async def _healthz(self, request: web.Request) -> web.Response:
        del request
        # That there is an answer is the answer: the process lives and its event loop turns.
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        report = await self._readiness.report()
        status = HTTPStatus.OK if report.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"ready": report.is_ready, "checks": report.checks, "circuits": report.circuits}
        return web.json_response(body, status=status)


async def _hide_versions(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers[hdrs.SERVER] = "d1-gateway"


def _write(file: Path, content: bytes) -> None:
    # Whole or not at all, should we be killed now.
    unnamed = file.with_suffix(".part")
    unnamed.write_bytes(content)
    unnamed.replace(file)
