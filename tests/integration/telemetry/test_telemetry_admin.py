"""The admin port of a running gateway: probes and scrapes."""

import asyncio
import json
import platform
import socket
import sqlite3
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from gateway.settings import AdminSettings
from gateway.telemetry.admin_server import AdminServer
from gateway.telemetry.collectors import State
from gateway.telemetry.readiness import Readiness
from issuer.notification.v1 import messages_pb2 as notification
from sandbox import Sandbox
from sandbox.handler import Handler
from tests.callback_replies import reject
from tests.integration.telemetry.operator_view import OperatorView
from tests.running import edge_session, running_gateway, settings_for

_MARK = "5413330089010434"


def test_the_admin_port_is_on_loopback_by_default() -> None:
    assert AdminSettings() == AdminSettings(host="127.0.0.1", port=9464)


async def test_a_gateway_that_serves_is_alive_and_ready(view: OperatorView) -> None:
    assert (await view.get("/healthz"))[::2] == (200, "ok\n")
    assert await view.ready() == (200, {"serving": "ok", "event_log_read": "ok", "event_log_write": "ok"})


async def test_readiness_and_metrics_name_the_version_of_the_gateway(view: OperatorView) -> None:
    version = metadata.version("d1-gateway")
    assert json.loads((await view.get("/readyz"))[2])["version"] == version
    (build,) = (each for each in (await view.scrape()).all if each.name == "d1_gateway_build_info")
    assert build.value == 1
    assert build.labels == {"version": version, "commit": "", "python": platform.python_version()}


async def test_a_gateway_whose_disk_fails_is_alive_and_not_ready_until_it_recovers(own_view: OperatorView) -> None:
    with closing(sqlite3.connect(own_view.running.event_log, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        status, checks = await own_view.ready()
        assert status == 503
        assert checks["event_log_write"] != "ok"
        assert (await own_view.get("/healthz"))[0] == 200
    await own_view.until_ready(200)


async def test_a_gateway_whose_log_was_deleted_is_not_ready_and_still_scraped(own_view: OperatorView) -> None:
    own_view.running.event_log.unlink()
    status, checks = await own_view.ready()

    assert status == 503
    assert checks["event_log_write"] != "ok"
    assert await own_view.notify() == 503
    found = await own_view.scrape()
    assert found.value("event_log_appends_total", outcome="failed") == 1
    assert found.value("event_log_append_duration_seconds_count") == 1
    assert "d1_gateway_event_log_last_sequence" not in found.text


async def test_a_gateway_that_drains_says_so_for_as_long_as_calls_are_in_flight(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with edge_session(sandbox) as session:
        gateway = running_gateway(sandbox, settings_for(sandbox, tmp_path))
        view = OperatorView(await gateway.__aenter__(), session)
        async with Handler.connect(view.running.channel, {"deliver_otp": reject}):
            assert (await view.ready())[0] == 200
            leaving = asyncio.create_task(gateway.__aexit__(None, None, None))
            assert (await view.until_ready(503))["serving"] == "draining"
        await leaving


async def test_a_scrape_gets_the_format_that_it_requests(view: OperatorView) -> None:
    plain = await view.get("/metrics")
    openmetrics = await view.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert plain[1].startswith("text/plain")
    assert openmetrics[1].startswith("application/openmetrics-text")
    assert openmetrics[2].endswith("# EOF\n")
    assert "_created" not in plain[2]


async def test_a_gateway_whose_admin_port_is_taken_does_not_start_and_says_which(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        used = settings_for(sandbox, tmp_path).model_copy(update={"admin": AdminSettings(port=port)})
        with pytest.raises(OSError, match=f"^admin: cannot listen on 127.0.0.1:{port}: "):
            async with running_gateway(sandbox, used):
                raise AssertionError("it started")


@pytest.mark.parametrize(
    "path", ["/static/", "/static/page.html", "/static/..%2fpage.py", "/static/../page.py", "/page"]
)
async def test_nothing_else_is_served(view: OperatorView, path: str) -> None:
    assert (await view.get(path))[0] == 404


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (f"{_MARK}\r\n\r\n", b"400"),
        (f"GET /{_MARK} HTTP/{_MARK}\r\n\r\n", b"400"),
        (f"GET /healthz HTTP/1.1\r\nHost: x\r\nBad {_MARK}\r\n\r\n", b"400"),
        (f"GET http://x:{_MARK}/ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (f"GET /{_MARK} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: {_MARK}\r\n\r\n", b"404"),
        (f"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: {_MARK}\r\n\r\n", b"200"),
        (f"TRACE /{_MARK} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
        (f"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {_MARK}\r\n\r\n", b"405"),
    ],
)
async def test_whatever_is_sent_the_admin_port_neither_quotes_it_nor_names_what_it_is_made_of(
    view: OperatorView, request_: str, status: bytes
) -> None:
    host, _, port = view.running.addresses.admin.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with capture_logs() as logged:
        writer.write(request_.encode())
        async with asyncio.timeout(10):
            response = await reader.read()
        writer.close()
    assert response.split()[1] == status
    assert b"Server: d1-gateway\r\n" in response
    told = response.decode().lower() + repr(logged)
    assert not [word for word in ("aiohttp", "python", _MARK) if word in told]
    assert [each["event"] for each in logged] == ["malformed_admin_request_rejected"] * (status == b"400")


async def test_an_internal_error_of_the_admin_port_is_logged_and_not_returned(sandbox: Sandbox) -> None:
    class Broken:
        async def refresh(self) -> None:
            raise RuntimeError(_MARK)

        report = refresh

    broken = Broken()
    server = AdminServer(CollectorRegistry(), cast("State", broken), cast("Readiness", broken))
    async with edge_session(sandbox) as session:
        address = await server.start("127.0.0.1", 0)
        with capture_logs() as logged:
            for path in ("/metrics", "/readyz"):
                async with session.get(f"http://{address}{path}", headers={"Accept": "text/html"}) as response:
                    assert (response.status, response.headers["Server"]) == (500, "d1-gateway")
                    assert await response.json() == {"error": "internal error"}
        await server.stop()
    assert [each["event"] for each in logged] == ["admin_request_failed"] * 2


async def test_the_admin_port_takes_scrapes_while_a_watcher_is_slow(own_view: OperatorView) -> None:
    call = own_view.running.notifications.WatchNotifications(notification.WatchNotificationsRequest())
    await call.read()
    for number in range(50):
        await own_view.notify(f"op-{number}")

    scrapes = await asyncio.gather(*(own_view.scrape() for _ in range(10)))
    assert {each.value("event_log_last_sequence") for each in scrapes} == {50}
    call.cancel()
