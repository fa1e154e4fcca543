"""Who is spoken with over TLS, and who is not."""

import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.d1.api import D1CardIssuer
from gateway.settings import ThreeDSSettings
from gateway.tls.contexts import threeds_context
from sandbox.common.pki import Pki, make_pki
from sandbox.common.tls import browser_context, client_context, server_context
from tests.integration.upstreams.fake_d1 import SUSPEND, FakeD1, client_at
from tests.integration.upstreams.fake_threeds import PAN, server_at
from tests.integration.upstreams.fake_upstream import FakeUpstream, call, failure_of, kind_of, running


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("strangers"))


def as_gateway(pki: Pki, trusted: Path | None = None) -> ssl.SSLContext:
    return client_context(pki.gateway_client, trusted or pki.server_ca)


async def test_an_upstream_whose_certificate_nobody_trusts_gets_nothing(pki: Pki, strangers: Pki) -> None:
    async with (
        running(FakeUpstream(tls=server_context(strangers.threeds_server))) as fake,
        server_at(fake.url, as_gateway(pki)) as server,
    ):
        error = await failure_of(server.lookup(PAN, "", call()))

        assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
        assert "its certificate is not trusted (unable to get local issuer certificate)" in error.message
        assert fake.seen == []


async def test_without_an_authority_in_its_settings_an_upstream_needs_one_that_the_system_trusts(pki: Pki) -> None:
    async with running(FakeUpstream(tls=server_context(pki.threeds_server))) as fake:
        settings = ThreeDSSettings(base_url=fake.url, api_key=SecretStr("a-key"))
        async with server_at(fake.url, threeds_context(settings)) as server:
            error = await failure_of(server.lookup(PAN, "", call()))

        assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
        assert fake.seen == []


@pytest.mark.parametrize("certificate", ["none", "a stranger's"])
async def test_without_a_client_certificate_that_d1_trusts_nothing_is_sent(
    pki: Pki, strangers: Pki, certificate: str
) -> None:
    server = server_context(pki.d1_server, pki.gateway_client_ca)
    client = browser_context(pki.server_ca) if certificate == "none" else as_gateway(strangers, pki.server_ca)
    async with running(FakeD1(tls=server)) as fake, client_at(fake.url, client) as connected:
        error = await failure_of(D1CardIssuer(connected).suspend_card(SUSPEND, call()))

        assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
        assert fake.seen == []
