"""Certificates that change while a gateway serves: at the edge, and at the gRPC port."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.threeds.v1 import messages_pb2 as threeds
from issuer.threeds.v1 import service_pb2_grpc as threeds_grpc
from sandbox import Sandbox
from sandbox.common.pki import CALLER
from sandbox.gateway import channel
from tests.contract.areqs import pan_of
from tests.integration.edge.edge_caller import event
from tests.integration.edge.edge_gateways import calling_with, edge_with, write_authority, write_pair
from tests.running import Running
from tests.unit.auth.auth_pki import LOOPBACK, Authority, Pair, uri

_RESUME = card.ResumeCardRequest(card_id="card-1", reason_code="CARD_FOUND")


def _server(authority: Authority) -> Pair:
    return authority.issue(LOOPBACK, usage=ExtendedKeyUsageOID.SERVER_AUTH)


async def _until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await happened():  # noqa: ASYNC110 (a reload sends no event)
            await asyncio.sleep(0.2)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox of the test's own, whose files it changes."""
    async with Sandbox.start(tmp_path / "keys") as started:
        yield started


async def test_the_edge_shows_and_trusts_what_its_files_hold_by_now(sandbox: Sandbox, tmp_path: Path) -> None:
    pki, authority = sandbox.pki, Authority("The next CA")
    (tmp_path / "next").mkdir()
    client = write_pair(tmp_path / "next", "d1", authority.issue())
    authority_file = write_authority(tmp_path / "next", authority)

    async def is_served(running: Running) -> bool:
        try:
            async with calling_with(running, client, authority_file) as new:
                return (await new.notify()).status == 204
        except (aiohttp.ClientError, OSError):
            return False

    async with edge_with(sandbox, tmp_path) as running, calling_with(running, pki.d1_client) as old:
        assert (await old.notify()).status == 204
        pki.d1_client_ca.write_bytes(authority.certificate)
        write_pair(pki.edge_server.certificate.parent, "edge-server", _server(authority))
        await _until(lambda: is_served(running))
        assert (await old.notify(event(operationId="op_3"))).status == 204, "its connection was made before"
        async with calling_with(running, pki.d1_client, authority_file) as stranger:
            with pytest.raises((aiohttp.ClientConnectionError, ssl.SSLError)):
                await stranger.notify()

        with capture_logs() as logged:
            pki.edge_server.certificate.write_text("garbage")

            async def is_logged() -> bool:
                return any(entry["log_level"] == "error" for entry in logged)

            await _until(is_logged)
        (error,) = (entry for entry in logged if entry["log_level"] == "error")
        assert str(pki.edge_server.certificate) in error["files"]
        assert await is_served(running)


async def test_the_port_for_internal_callers_shows_and_trusts_what_its_files_hold_by_now(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    pki, authority = sandbox.pki, Authority("The next CA")
    (tmp_path / "next").mkdir()
    caller = write_pair(tmp_path / "next", "caller", authority.issue([uri(CALLER)]))
    renewed = replace(pki, server_ca=write_authority(tmp_path / "next", authority), caller=caller)

    async def is_served(running: Running) -> bool:
        async with channel(running.addresses.grpc, renewed) as opened:
            return await _reaches_d1(opened)

    async with edge_with(sandbox, tmp_path) as running:
        assert await _reaches_d1(running.channel)
        assert not await is_served(running)
        pki.caller_ca.write_bytes(authority.certificate)
        write_pair(pki.grpc_server.certificate.parent, "grpc-server", _server(authority))
        await _until(lambda: is_served(running))
        assert await _reaches_d1(running.channel), "its connection was made before"
        async with channel(running.addresses.grpc, replace(renewed, caller=pki.caller)) as stranger:
            assert not await _reaches_d1(stranger)


async def test_the_api_key_of_the_3ds_server_is_what_its_file_holds_by_now(sandbox: Sandbox, tmp_path: Path) -> None:
    key_file = tmp_path / "threeds-api-key"

    async def status(running: Running) -> grpc.StatusCode:
        stub = threeds_grpc.AuthenticationServiceStub(running.channel)
        try:
            await stub.LookupCard(threeds.LookupCardRequest(acct_number=pan_of("0003")), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async with edge_with(sandbox, tmp_path) as running:
        assert await status(running) is grpc.StatusCode.OK
        with capture_logs() as logged:
            key_file.write_text("no key")

            async def is_logged() -> bool:
                return any(entry["event"] == "file_reload_failed" for entry in logged)

            await _until(is_logged)
        (failed,) = (entry for entry in logged if entry["event"] == "file_reload_failed")
        assert failed["mistakes"][0].startswith("threeds.api_key_file: ")
        assert "no key" not in str(failed)
        assert await status(running) is grpc.StatusCode.OK
        key_file.write_text("another-key")

        async def is_refused() -> bool:
            return await status(running) is grpc.StatusCode.INTERNAL

        await _until(is_refused)


async def _reaches_d1(opened: grpc.aio.Channel) -> bool:
    """Make a call that D1 rejects, as it does not know the card."""
    try:
        await card_grpc.CardServiceStub(opened).ResumeCard(_RESUME, timeout=5)
    except grpc.aio.AioRpcError as error:
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return False
        return error.code() == grpc.StatusCode.NOT_FOUND
    return False
