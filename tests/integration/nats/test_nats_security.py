"""Authentication and trust at NATS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings import NatsSettings
from sandbox.common.pki import Pki, make_pki
from sandbox.common.tls import browser_context, client_context
from sandbox.nats import NatsServer, ServerTls
from tests.conformance.storage_engines import an_event
from tests.integration.nats.nats_accounts import Operator
from tests.integration.nats.nats_storages import disconnected, open_error, opened, recovered, settings_for_nats


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> AsyncIterator[NatsServer]:
    """A server that accepts clients with a certificate of the gateways' CA."""
    tls = ServerTls(pki.d1_server, pki.gateway_client_ca)
    async with await NatsServer.start(tmp_path_factory.mktemp("nats") / "guarded", tls=tls) as server:
        yield server


async def test_with_our_certificate_we_are_let_in_and_let_in_again(guarded: NatsServer, pki: Pki) -> None:
    ours = client_context(pki.gateway_client, pki.server_ca)
    async with opened(settings_for_nats(guarded), ours) as storage:
        assert await storage.log.append(an_event(1))

        await guarded.kill()
        await guarded.restart()
        await recovered(storage)

        assert not await storage.log.append(an_event(1))


async def test_a_server_that_hangs_is_left_soon_over_tls_too(guarded: NatsServer, pki: Pki) -> None:
    ours = client_context(pki.gateway_client, pki.server_ca)
    async with opened(settings_for_nats(guarded, timeout_seconds=1), ours) as storage:
        guarded.pause()
        # Nothing is heard from it, not even that it closes.
        await disconnected(storage)
        guarded.resume()
        await recovered(storage)


async def test_only_whoever_has_our_certificate_is_let_in_and_only_a_server_of_our_authority_trusted(
    guarded: NatsServer, pki: Pki
) -> None:
    tls_and_errors = (
        (browser_context(pki.server_ca), guarded.url),
        (client_context(pki.caller, pki.server_ca), guarded.url),
        (client_context(pki.gateway_client, pki.caller_ca), "certificate verify failed"),
    )

    # At the same time, as each tries for a while.
    messages = await asyncio.gather(*(open_error(settings_for_nats(guarded), tls) for tls, _ in tls_and_errors))

    for message, (_, expected) in zip(messages, tls_and_errors, strict=True):
        assert expected in message


async def test_nothing_is_said_in_plain_text_to_a_server_that_ought_to_encrypt(server: NatsServer, pki: Pki) -> None:
    settings = settings_for_nats(server).model_copy(update={"servers": (server.url.replace("nats://", "tls://"),)})

    assert "does not encrypt" in await open_error(settings, client_context(pki.gateway_client, pki.server_ca))


async def test_a_user_is_known_by_its_credentials(tmp_path: Path) -> None:
    operator = Operator()
    ours = operator.account.write_user(tmp_path / "gateway.creds")
    strangers = Operator().account.write_user(tmp_path / "stranger.creds")
    async with await NatsServer.start(tmp_path / "operated", settings=operator.settings) as server:
        settings = settings_for_nats(server)
        async with opened(settings.model_copy(update={"credentials_file": ours})) as storage:
            assert await storage.log.append(an_event(1))
            # They are shown again at each connection.
            await server.kill()
            await server.restart()
            await recovered(storage)

        rejected = [settings.model_copy(update={"credentials_file": shown}) for shown in (None, strangers)]
        for message in await asyncio.gather(*map(_rejection, rejected)):
            assert "Authorization Violation" in message


async def _rejection(settings: NatsSettings) -> str:
    message = await open_error(settings)
    # The last connection may be reset before its client has read why.
    return message if "Authorization" in message else await open_error(settings)
