"""Client certificates at the edge, presented in TLS or forwarded by a proxy."""

import base64
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from gateway.bootstrap import edge
from gateway.edge.auth_client_certificate import Clients
from gateway.settings import EdgeProxySettings
from sandbox import Sandbox
from tests.integration.edge.edge_caller import EdgeCaller, edge_log, event, raw_request
from tests.integration.edge.edge_gateways import calling_with, edge_with, write_authority, write_pair
from tests.running import Running
from tests.unit.auth.auth_pki import Authority, Pair, dns, key_usage, uri

_LISTED = ("d1.example", "spiffe://d1/client", "the common name", "*")
_D1 = [dns("d1.example")]
_DAY = timedelta(days=1)
_ODD_NAMES = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x02\xa3\x00")
"""An ``x400Address`` (RFC 5280 section 4.2.1.6), which the gateway cannot read."""
CA = Authority()


class Clock:
    """The time by which the gateways of this module check certificates: a test moves it ahead."""

    ahead = timedelta()

    def __call__(self) -> float:
        return time.time() + self.ahead.total_seconds()


_CLOCK = Clock()


@asynccontextmanager
async def _behind(sandbox: Sandbox, folder: Path, *networks: str) -> AsyncIterator[Running]:
    """Run a gateway that trusts `CA`, lists `_LISTED`, and has its proxy in the given networks."""
    proxy = EdgeProxySettings(networks=tuple(map(ipaddress.ip_network, networks)))
    ca_file = write_authority(folder, CA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "Clients", partial(Clients, clock=_CLOCK))
        async with edge_with(
            sandbox, folder, tls_client_ca_file=ca_file, tls_client_subjects=_LISTED, proxy=proxy
        ) as running:
            yield running


@pytest.fixture(scope="module")
async def direct(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway whose proxy is elsewhere: its clients here call directly."""
    async with _behind(sandbox, tmp_path_factory.mktemp("direct"), "192.0.2.0/24") as running:
        yield running


@pytest.fixture(scope="module")
async def behind_proxy(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway whose proxy is on loopback."""
    async with _behind(sandbox, tmp_path_factory.mktemp("proxied"), "127.0.0.0/8", "::1/128") as running:
        yield running


@pytest.fixture(scope="module")
async def bare_session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a certificate."""
    context = ssl.create_default_context(cafile=sandbox.pki.server_ca)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


@pytest.fixture
async def proxy(behind_proxy: Running, bare_session: aiohttp.ClientSession) -> EdgeCaller:
    """The proxy on loopback, as a client of the gateway."""
    return await EdgeCaller.of(behind_proxy, bare_session)


@asynccontextmanager
async def _presenting(running: Running, folder: Path, pair: Pair) -> AsyncIterator[EdgeCaller]:
    async with calling_with(running, write_pair(folder, "client", pair)) as caller:
        yield caller


def _forwarded(pair: Pair) -> str:
    """Return a certificate in the form of RFC 9440, section 2.1."""
    der = x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)
    return f":{base64.b64encode(der).decode()}:"


@pytest.mark.parametrize(
    "pair",
    [
        CA.issue([dns("d1.example"), uri("spiffe://other/client")], common_name="other"),
        CA.issue([dns("other.example"), uri("spiffe://d1/client")], common_name="other"),
        CA.issue([dns("other.example"), uri("spiffe://other/client")], common_name="the common name"),
        CA.issue(common_name="the common name"),
    ],
    ids=["DNS name", "URI", "common name", "common name alone"],
)
async def test_any_name_of_a_certificate_may_be_the_listed_one(direct: Running, tmp_path: Path, pair: Pair) -> None:
    async with _presenting(direct, tmp_path, pair) as caller:
        assert (await caller.notify()).status == 204


@pytest.mark.parametrize("name", ["The common name", "the common name ", "the common nam", "someone"])
async def test_a_client_of_the_same_authority_whose_name_is_not_listed_may_not(
    direct: Running, tmp_path: Path, name: str
) -> None:
    async with _presenting(direct, tmp_path, CA.issue(common_name=name)) as caller:
        with edge_log() as logged:
            (await caller.notify()).error(403)
            (await caller.request("GET", "/elsewhere")).error(403)
        assert [entry["event"] for entry in logged] == ["callback_rejected"] * 2
        assert logged[0]["cause"] == f"edge.tls_client_subjects has none of ['{name}']"
        assert await caller.stored() == []


async def test_behind_a_proxy_only_listed_names_may_call_too_however_large_the_certificate(proxy: EdgeCaller) -> None:
    many = [dns(f"d1-{number}.{'x' * 50}.example") for number in range(66)]
    for names, size, status in ((_D1, 0, 204), ([*_D1, *many], 6_100, 204), ([dns("other.example")], 0, 403)):
        shown = _forwarded(CA.issue(names))
        assert len(shown) > size
        assert (await proxy.notify(**{"Client-Cert": shown})).status == status
    assert await proxy.stored_operations() == ["op_1"]


async def test_a_connection_does_not_outlive_its_certificate(
    direct: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _presenting(direct, tmp_path, CA.issue(_D1)) as caller:
        assert (await caller.notify()).status == 204
        monkeypatch.setattr(_CLOCK, "ahead", _DAY)
        assert (await caller.notify()).error(403) == "the client certificate has expired or is not yet valid"


async def test_a_forwarded_certificate_that_was_good_is_refused_once_it_has_expired(
    proxy: EdgeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _forwarded(CA.issue(_D1))
    assert (await proxy.notify(**{"Client-Cert": shown})).status == 204
    monkeypatch.setattr(_CLOCK, "ahead", _DAY)
    (await proxy.notify(**{"Client-Cert": shown})).error(403)


async def test_a_proxy_that_hands_on_no_certificate_gets_nothing(proxy: EdgeCaller) -> None:
    assert (await proxy.notify()).error(403) == "the proxy sends no client certificate"


async def test_a_proxy_is_not_d1_though_it_has_a_certificate_of_the_same_authority(
    behind_proxy: Running, tmp_path: Path
) -> None:
    async with _presenting(behind_proxy, tmp_path, CA.issue(_D1)) as caller:
        (await caller.notify()).error(403)


@pytest.mark.parametrize(
    "pair",
    [
        Authority().issue(_D1),
        Authority("Another CA").issue(_D1),
        CA.issue(_D1, begins=-2 * _DAY, ends=timedelta(hours=-1)),
        CA.issue(_D1, begins=timedelta(hours=1)),
    ],
    ids=["of another CA of the same name", "of another CA", "expired", "not yet valid"],
)
async def test_what_another_authority_signed_or_is_not_valid_is_refused(proxy: EdgeCaller, pair: Pair) -> None:
    response = await proxy.notify(**{"Client-Cert": _forwarded(pair)})
    assert response.error(403) == "the client certificate is not trusted"


@pytest.mark.parametrize(
    ("pair", "flaw", "by_tls"),
    [
        (CA.pair, "is a CA's", False),
        (CA.issue(_D1, more=[x509.BasicConstraints(ca=True, path_length=None)]), "is a CA's", False),
        (CA.issue(more=[_ODD_NAMES]), "cannot be read", False),
        (CA.issue(_D1, usage=ExtendedKeyUsageOID.SERVER_AUTH), "is not for clients", True),
        (CA.issue(_D1, usage=ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE), "is not for clients", True),
        (CA.issue(_D1, more=[key_usage("key_encipherment")]), "has a key that does not authenticate clients", True),
    ],
    ids=["the CA's own", "another CA's", "with odd names", "for servers", "for anything", "for encryption"],
)
async def test_a_certificate_that_is_not_a_clients_is_refused_directly_and_behind_a_proxy(
    direct: Running, proxy: EdgeCaller, tmp_path: Path, pair: Pair, flaw: str, *, by_tls: bool
) -> None:
    assert (await proxy.notify(**{"Client-Cert": _forwarded(pair)})).error(403) == f"the client certificate {flaw}"

    async with _presenting(direct, tmp_path, pair) as caller:
        if by_tls:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await caller.notify()
        else:
            assert (await caller.notify()).error(403) == f"the client certificate {flaw}"
        assert await caller.stored() == []


@pytest.mark.parametrize(
    "pair",
    [
        CA.issue(_D1, more=[x509.BasicConstraints(ca=False, path_length=None), key_usage("digital_signature")]),
        CA.issue(_D1, more=[key_usage("key_agreement")]),
    ],
    ids=["for signatures", "for key agreement"],
)
async def test_a_certificate_that_says_it_is_a_clients_is_taken_directly_and_behind_a_proxy(
    direct: Running, proxy: EdgeCaller, tmp_path: Path, pair: Pair
) -> None:
    assert (await proxy.notify(**{"Client-Cert": _forwarded(pair)})).status == 204
    async with _presenting(direct, tmp_path, pair) as caller:
        assert (await caller.notify()).status == 204


async def test_a_header_that_is_no_certificate_is_refused(proxy: EdgeCaller) -> None:
    shown = _forwarded(CA.issue(_D1))
    forms = ["", "::", "garbage", ":AAAA:", shown[1:], shown[:-1], shown.strip(":"), shown[:-40] + ":"]
    forms += [shown.replace(":", '"'), f"{shown}, {shown}", f"{shown};a=1", f"{shown[:-1]}====:", f":{shown}:"]
    with edge_log() as logged:
        for garbage in (*forms, "-----BEGIN CERTIFICATE-----", f"Hash=abc;Cert={shown}"):
            response = await proxy.notify(**{"Client-Cert": garbage})
            assert response.error(400) == "the header Client-Cert holds no certificate", garbage
    assert shown[10:50] not in repr(logged)
    assert await proxy.stored() == []


async def test_a_header_that_comes_twice_is_refused(proxy: EdgeCaller) -> None:
    shown, body = _forwarded(CA.issue(_D1)), json.dumps(event()).encode()
    context = ssl.create_default_context(cafile=proxy.running.sandbox.pki.server_ca)
    async with proxy.connection(context) as (reader, writer):
        for second in (f"Client-Cert: {shown}", f"client-cert: {shown}", "Client-Cert: ", "CLIENT-CERT: :A:"):
            writer.write(proxy.raw(body, f"Client-Cert: {shown}", second))
            response = await proxy.read(reader)
            assert response.error(400) == "there is more than one header Client-Cert"


@pytest.mark.parametrize("header", ["Client-Cert", "client-cert", "CLIENT-CERT", "Client-Cert-Chain"])
async def test_nobody_else_may_send_the_header_even_with_a_certificate(
    direct: Running, bare_session: aiohttp.ClientSession, tmp_path: Path, header: str
) -> None:
    shown = {header: _forwarded(CA.issue(_D1))}
    bare = await EdgeCaller.of(direct, bare_session)
    assert (await bare.notify(**shown)).status == 403
    async with _presenting(direct, tmp_path, CA.issue(_D1)) as caller:
        assert (await caller.notify(**shown)).error(403).startswith("the header Client-Cert is accepted")
        assert (await caller.notify()).status == 204
    assert len(await bare.stored()) == 1


async def test_nobody_but_the_proxy_may_call_without_a_certificate(
    direct: Running, bare_session: aiohttp.ClientSession
) -> None:
    bare = await EdgeCaller.of(direct, bare_session)
    assert (await bare.notify()).error(403) == "a client certificate is required"
    assert await bare.stored() == []


async def test_without_a_proxy_the_header_is_refused(caller: EdgeCaller) -> None:
    async with caller.connection() as (reader, writer):
        writer.write(raw_request(b"{}", f"Client-Cert: {_forwarded(CA.issue())}"))
        (await caller.read(reader)).error(403)
