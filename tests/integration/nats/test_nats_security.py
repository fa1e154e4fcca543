"""Authentication and trust at NATS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.common.pki import Pki, make_pki
from sandbox.common.tls import browser_context, client_context
from sandbox.nats import NatsServer, ServerTls
from tests.conformance.storage_engines import an_event
from tests.integration.nats.nats_accounts import Operator
from tests.integration.nats.nats_storages import open_error, opened, recovered, settings_for_nats


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def guarded(tmp_path: Path, pki: Pki) -> AsyncIterator[NatsServer]:
    """A server that accepts clients with a certificate of the gateways' CA."""
    tls = ServerTls(pki.d1_server, pki.gateway_client_ca)
    async with await NatsServer.start(tmp_path / "guarded", tls=tls) as server:
        yield server


async def test_with_our_certificate_we_are_let_in_and_let_in_again(guarded: NatsServer, pki: Pki) -> None:
    ours = client_context(pki.gateway_client, pki.server_ca)
    async with opened(settings_for_nats(guarded), ours) as storage:
        assert await storage.log.append(an_event(1))

        await guarded.kill()
        await guarded.restart()
        await recovered(storage, within_seconds=5)

        assert not await storage.log.append(an_event(1))


async def test_a_server_that_hangs_is_left_soon_over_tls_too(guarded: NatsServer, pki: Pki) -> None:
    ours = client_context(pki.gateway_client, pki.server_ca)
    async with opened(settings_for_nats(guarded, timeout_seconds=1), ours) as storage:
        guarded.pause()
        async with asyncio.timeout(10):
            # Nothing is heard from it, not even that it closes.
            while storage.connection.is_connected:  # noqa: ASYNC110  what the storage tells is for its parts
                await asyncio.sleep(0.02)
        guarded.resume()
        await recovered(storage, within_seconds=5)


@pytest.mark.parametrize("shown", ["nothing", "a certificate of another authority"])
async def test_without_our_certificate_we_are_not_let_in(guarded: NatsServer, pki: Pki, shown: str) -> None:
    tls = browser_context(pki.server_ca) if shown == "nothing" else client_context(pki.caller, pki.server_ca)

    assert guarded.url in await open_error(settings_for_nats(guarded), tls)


async def test_a_server_that_nobody_vouches_for_is_not_trusted(guarded: NatsServer, pki: Pki) -> None:
    tls = client_context(pki.gateway_client, pki.caller_ca)

    assert "certificate verify failed" in await open_error(settings_for_nats(guarded), tls)


async def test_nothing_is_said_in_plain_text_to_a_server_that_ought_to_encrypt(server: NatsServer, pki: Pki) -> None:
    settings = settings_for_nats(server).model_copy(update={"servers": (server.url.replace("nats://", "tls://"),)})

    assert "does not encrypt" in await open_error(settings, client_context(pki.gateway_client, pki.server_ca))


async def test_a_user_is_known_by_its_credentials(tmp_path: Path) -> None:
    operator = Operator()
    credentials = operator.account.write_user(tmp_path / "gateway.creds")
    async with await NatsServer.start(tmp_path / "operated", settings=operator.settings) as server:
        settings = settings_for_nats(server)
        async with opened(settings.model_copy(update={"credentials_file": credentials})) as storage:
            assert await storage.log.append(an_event(1))
            # They are shown again at each connection.
            await server.kill()
            await server.restart()
            await recovered(storage, within_seconds=5)

        assert "Authorization Violation" in await open_error(settings)


async def test_the_credentials_of_another_operators_user_are_rejected(tmp_path: Path) -> None:
    stranger = Operator().account.write_user(tmp_path / "stranger.creds")
    async with await NatsServer.start(tmp_path / "operated", settings=Operator().settings) as server:
        settings = settings_for_nats(server).model_copy(update={"credentials_file": stranger})
        message = await open_error(settings)

        assert "Authorization Violation" in message
