"""Who is spoken with over TLS, and who is not."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.d1.api import D1CardIssuer, Identity, connect
from gateway.ports import Call
from gateway.ports.meter import Unmeasured
from gateway.settings import SettingsError, ThreeDSSettings, UpstreamSettings
from gateway.tls.contexts import threeds_context
from sandbox.common.pki import Pki, make_pki
from sandbox.common.tls import browser_context, client_context, server_context
from tests.integration.upstreams.fake_d1 import KEYS, SUSPEND, FakeD1, client_at
from tests.integration.upstreams.fake_threeds import PAN, server_at
from tests.integration.upstreams.fake_upstream import ISSUER, FakeUpstream, call, failure_of, kind_of, running
from tests.integration.upstreams.raw_server import refusing


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("strangers"))


def settings(trusted: Path | None) -> ThreeDSSettings:
    return ThreeDSSettings(base_url="https://127.0.0.1:1", api_key=SecretStr("a-key"), tls_ca_file=trusted)


@pytest.mark.parametrize("trusted", ["another authority", "the system's authorities"])
async def test_an_upstream_whose_certificate_nobody_trusts_gets_nothing(pki: Pki, strangers: Pki, trusted: str) -> None:
    context = threeds_context(settings(strangers.server_ca if trusted == "another authority" else None))
    async with running(FakeUpstream(tls=server_context(pki.threeds_server))) as fake:
        async with server_at(fake.url, context) as server:
            error = await failure_of(server.lookup(PAN, "", call()))

        assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
        assert "its certificate is not trusted (unable to get local issuer certificate)" in error.message
        assert fake.seen == []


def test_a_trusted_authority_that_is_none_is_refused(tmp_path: Path) -> None:
    no_ca = tmp_path / "ca.pem"
    no_ca.write_text("nothing")

    with pytest.raises(SettingsError, match=r"^threeds\.tls_ca_file: .* holds no CA certificate"):
        threeds_context(settings(no_ca))


@pytest.mark.parametrize("certificate", ["none", "a stranger's"])
async def test_without_a_client_certificate_that_d1_trusts_nothing_is_sent(
    pki: Pki, strangers: Pki, certificate: str
) -> None:
    context = browser_context(pki.server_ca)
    if certificate != "none":
        context = client_context(strangers.gateway_client, pki.server_ca)
    server = server_context(pki.d1_server, pki.gateway_client_ca)
    async with running(FakeD1(tls=server)) as fake, client_at(fake.url, context) as connected:
        error = await failure_of(D1CardIssuer(connected).suspend_card(SUSPEND, call()))

        assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
        assert fake.seen == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_refused_client_certificate_is_named_with_the_alert(
    pki: Pki, strangers: Pki, version: ssl.TLSVersion
) -> None:
    server = server_context(pki.d1_server, pki.gateway_client_ca)
    server.maximum_version = version
    context = client_context(strangers.gateway_client, pki.server_ca)
    async with (
        refusing(server) as url,
        client_at(url, context, client_certificate=lambda: "CN=gateway, expires on a day") as connected,
    ):
        error = await failure_of(D1CardIssuer(connected).suspend_card(SUSPEND, call()))

    assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
    assert error.message.endswith(
        "Cannot connect to D1: it refuses the gateway's client certificate "
        "(TLS alert: unknown ca; certificate: CN=gateway, expires on a day)."
    )


class Circuits(Unmeasured):
    """Keeps the state of each circuit breaker, by issuer."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def circuit(self, upstream: str, state: str, issuer_id: str = "") -> None:
        assert upstream == "d1"
        self.states[issuer_id] = state


async def test_a_refused_certificate_of_one_issuer_stops_the_calls_of_no_other(pki: Pki, strangers: Pki) -> None:
    issuers = (ISSUER, "ISSUER0002", "ISSUER0003", "ISSUER0004")
    common = Identity(client_context(pki.gateway_client, pki.server_ca), lambda: "common")
    own = Identity(client_context(pki.second_gateway_client, pki.server_ca), lambda: "own", is_common=False)
    refused = Identity(
        client_context(strangers.gateway_client, pki.server_ca), lambda: "CN=refused, expires on a day", is_common=False
    )
    meter = Circuits()
    async with running(FakeD1(tls=server_context(pki.d1_server, pki.gateway_client_ca))) as fake:
        settings = UpstreamSettings(base_url=fake.url, circuit_failures=2, circuit_max_pause_seconds=60, max_attempts=1)
        identities = dict(zip(issuers, (common, own, refused, refused), strict=True))
        async with connect(settings, dict.fromkeys(issuers, KEYS[ISSUER]), identities, meter) as client:
            cards = D1CardIssuer(client)
            for _ in range(2):
                error = await failure_of(cards.suspend_card(SUSPEND, call_of("ISSUER0003")))
                assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
            error = await failure_of(cards.suspend_card(SUSPEND, call_of("ISSUER0004")))
            assert kind_of(error) == ("UPSTREAM_CIRCUIT_OPEN", "NOT_SENT")
            for issuer_id in (ISSUER, "ISSUER0002"):
                await cards.suspend_card(SUSPEND, call_of(issuer_id))

    assert len(fake.token_calls) == len(fake.calls) == 2
    assert meter.states == {"": "closed", "ISSUER0002": "closed", "ISSUER0003": "open", "ISSUER0004": "open"}


def call_of(issuer_id: str) -> Call:
    return replace(call(), issuer_id=issuer_id)


async def test_an_aggregators_token_comes_over_the_common_certificate_whatever_its_issuers_present(
    pki: Pki, strangers: Pki
) -> None:
    common = Identity(client_context(pki.gateway_client, pki.server_ca))
    refused = Identity(client_context(strangers.gateway_client, pki.server_ca), is_common=False)
    own = Identity(client_context(pki.second_gateway_client, pki.server_ca), is_common=False)
    keys = dict.fromkeys((ISSUER, "ISSUER0002"), replace(KEYS[ISSUER], aggregator_id="AGGREGATOR"))
    meter = Circuits()
    server = server_context(pki.d1_server, pki.gateway_client_ca)
    # Later versions let the client send its request before they refuse.
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running(FakeD1(tls=server)) as fake:
        settings = UpstreamSettings(base_url=fake.url, max_attempts=1)
        identities = {ISSUER: refused, "ISSUER0002": own}
        async with connect(settings, keys, identities, meter, common=common) as client:
            cards = D1CardIssuer(client)
            error = await failure_of(cards.suspend_card(SUSPEND, call_of(ISSUER)))
            await cards.suspend_card(SUSPEND, call_of("ISSUER0002"))
        with pytest.raises(ValueError, match="aggregator"):
            await connect(settings, keys, identities).__aenter__()

    assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
    assert (len(fake.token_calls), len(fake.calls)) == (1, 1)
    assert meter.states == {"": "closed", ISSUER: "closed", "ISSUER0002": "closed"}
