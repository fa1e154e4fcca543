"""Client certificates at the edge, shown in TLS or forwarded by a proxy."""

import asyncio
import base64
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from gateway.settings import EdgeProxySettings
from sandbox import Sandbox
from tests.integration.edge.edge_caller import EdgeCaller, event, raw_request, stored
from tests.integration.edge.edge_gateways import calling_with, edge_with, write_authority, write_pair
from tests.running import Running, edge_session
from tests.unit.auth.auth_pki import Authority, Pair, dns, uri

_D1 = "D1 sandbox client"
_LOOPBACK = EdgeProxySettings(networks=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")))
_ELSEWHERE = EdgeProxySettings(networks=(ipaddress.ip_network("192.0.2.0/24"),))
_LARGE = 6_100


async def test_a_client_whose_name_is_listed_may_call(sandbox: Sandbox, tmp_path: Path) -> None:
    async with edge_with(sandbox, tmp_path, tls_client_subjects=("other", _D1)) as running, edge_session(sandbox) as d1:
        assert (await EdgeCaller(running, d1).notify()).status == 204


async def test_a_client_of_the_same_authority_whose_name_is_not_listed_may_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    listed = (_D1.lower(), f"{_D1} ", _D1[:-1], "*")
    async with edge_with(sandbox, tmp_path, tls_client_subjects=listed) as running, edge_session(sandbox) as session:
        caller = EdgeCaller(running, session)
        with capture_logs() as logged:
            (await caller.notify()).error(403)
            (await caller.request("GET", "/elsewhere")).error(403)
        assert [entry["event"] for entry in logged] == ["callback_rejected"] * 2
        assert logged[0]["cause"] == f"edge.tls_client_subjects has none of ['{_D1}']"
        assert await stored(running) == []


@pytest.mark.parametrize("listed", ["d1.example", "spiffe://d1/client", "the common name"])
async def test_any_name_of_a_certificate_may_be_the_listed_one(sandbox: Sandbox, tmp_path: Path, listed: str) -> None:
    authority = Authority()
    names = [dns("d1.example"), uri("spiffe://d1/client")]
    identity = write_pair(tmp_path, "d1", authority.issue(names, common_name="the common name"))
    edge = {"tls_client_ca_file": write_authority(tmp_path, authority), "tls_client_subjects": (listed,)}
    async with edge_with(sandbox, tmp_path, oauth=None, **edge) as running, calling_with(running, identity) as caller:
        assert (await caller.notify()).status == 204


async def test_a_connection_does_not_outlive_its_certificate(sandbox: Sandbox, tmp_path: Path) -> None:
    authority = Authority()
    ca_file = write_authority(tmp_path, authority)
    async with edge_with(sandbox, tmp_path, tls_client_ca_file=ca_file) as running:
        ends = time.time() + 3
        identity = write_pair(tmp_path, "d1", authority.issue(ends=timedelta(seconds=3)))
        async with calling_with(running, identity) as caller:
            assert (await caller.notify()).status == 204
            await asyncio.sleep(ends - time.time() + 0.1)
            assert (await caller.notify()).error(403) == "the client certificate has expired or is not yet valid"


def _forwarded(pair: Pair) -> str:
    """Return a certificate in the form of RFC 9440, section 2.1."""
    der = x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)
    return f":{base64.b64encode(der).decode()}:"


class _Proxied:
    """A gateway behind a proxy on loopback, and the authority of D1's certificates."""

    def __init__(self, running: Running, caller: EdgeCaller, authority: Authority) -> None:
        self.running = running
        self.caller = caller
        self.authority = authority


@asynccontextmanager
async def _proxied(sandbox: Sandbox, folder: Path, proxy: EdgeProxySettings, *subjects: str) -> AsyncIterator[_Proxied]:
    """Call an edge as a proxy without a client certificate."""
    authority = Authority()
    edge = {"tls_client_ca_file": write_authority(folder, authority), "tls_client_subjects": subjects, "proxy": proxy}
    context = ssl.create_default_context(cafile=sandbox.pki.server_ca)
    async with (
        edge_with(sandbox, folder, oauth=None, **edge) as running,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
    ):
        yield _Proxied(running, EdgeCaller(running, session), authority)


@pytest.fixture
async def proxied(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[_Proxied]:
    async with _proxied(sandbox, tmp_path, _LOOPBACK) as started:
        yield started


async def test_a_proxy_is_believed_whose_certificate_it_hands_on(proxied: _Proxied) -> None:
    shown = _forwarded(proxied.authority.issue())
    for number in range(2):
        headers = {"Client-Cert": shown}
        assert (await proxied.caller.notify(event(operationId=f"op_{number}"), **headers)).status == 204
    assert len(await stored(proxied.running)) == 2


async def test_a_large_certificate_fits_into_the_header(proxied: _Proxied) -> None:
    names = [dns(f"d1-{number}.{'x' * 50}.example") for number in range(66)]
    shown = _forwarded(proxied.authority.issue(names))
    assert len(shown) > _LARGE
    assert (await proxied.caller.notify(**{"Client-Cert": shown})).status == 204


async def test_behind_a_proxy_only_listed_names_may_call_too(sandbox: Sandbox, tmp_path: Path) -> None:
    async with _proxied(sandbox, tmp_path, _LOOPBACK, "d1.example") as proxied:
        for name, status in (("d1.example", 204), ("other.example", 403)):
            shown = _forwarded(proxied.authority.issue([dns(name)]))
            assert (await proxied.caller.notify(**{"Client-Cert": shown})).status == status


async def test_a_proxy_that_hands_on_no_certificate_gets_nothing(proxied: _Proxied) -> None:
    assert (await proxied.caller.notify()).error(403) == "the proxy sends no client certificate"


async def test_a_proxy_is_not_d1_though_it_has_a_certificate_of_the_same_authority(
    proxied: _Proxied, tmp_path: Path
) -> None:
    identity = write_pair(tmp_path, "proxy", proxied.authority.issue())
    async with calling_with(proxied.running, identity) as caller:
        (await caller.notify()).error(403)


async def test_what_another_authority_signed_is_refused(proxied: _Proxied) -> None:
    for stranger in (Authority(), Authority("Another CA")):
        response = await proxied.caller.notify(**{"Client-Cert": _forwarded(stranger.issue())})
        assert response.error(403) == "the client certificate is not trusted"


async def test_what_is_not_valid_now_or_for_a_server_is_refused(proxied: _Proxied) -> None:
    day, hour = timedelta(days=1), timedelta(hours=1)
    for pair in (
        proxied.authority.issue(begins=-2 * day, ends=-hour),
        proxied.authority.issue(begins=hour, ends=day),
        proxied.authority.issue(usage=ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        (await proxied.caller.notify(**{"Client-Cert": _forwarded(pair)})).error(403)


async def test_a_certificate_that_was_good_is_refused_once_it_has_expired(proxied: _Proxied) -> None:
    ends = time.time() + 3
    shown = _forwarded(proxied.authority.issue(ends=timedelta(seconds=3)))
    assert (await proxied.caller.notify(**{"Client-Cert": shown})).status == 204
    await asyncio.sleep(ends - time.time() + 0.1)
    (await proxied.caller.notify(**{"Client-Cert": shown})).error(403)


def _garbage(shown: str) -> list[str]:
    return [
        "",
        "::",
        "garbage",
        ":AAAA:",
        shown[1:],
        shown[:-1],
        shown.strip(":"),
        shown[:-40] + ":",
        shown.replace(":", '"'),
        f"{shown}, {shown}",
        f"{shown};a=1",
        f"{shown[:-1]}====:",
        f":{shown}:",
        "-----BEGIN CERTIFICATE-----",
        f"Hash=abc;Cert={shown}",
    ]


async def test_a_header_that_is_no_certificate_is_refused(proxied: _Proxied) -> None:
    shown = _forwarded(proxied.authority.issue())
    with capture_logs() as logged:
        for garbage in _garbage(shown):
            response = await proxied.caller.notify(**{"Client-Cert": garbage})
            assert response.error(400) == "the header Client-Cert holds no certificate", garbage
    assert shown[10:50] not in repr(logged)
    assert await stored(proxied.running) == []


async def test_a_header_that_comes_twice_is_refused(proxied: _Proxied) -> None:
    shown = _forwarded(proxied.authority.issue())
    host, _, port = proxied.running.addresses.edge.rpartition(":")
    context = ssl.create_default_context(cafile=proxied.running.sandbox.pki.server_ca)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    for name, second in (("Client-Cert", shown), ("client-cert", shown), ("Client-Cert", ""), ("CLIENT-CERT", ":A:")):
        writer.write(raw_request(json.dumps(event()).encode(), f"Client-Cert: {shown}", f"{name}: {second}"))
        response = await proxied.caller.read(reader)
        assert response.error(400) == "there is more than one header Client-Cert"
    writer.transport.abort()


@pytest.mark.parametrize("header", ["Client-Cert", "client-cert", "CLIENT-CERT", "Client-Cert-Chain"])
async def test_nobody_else_may_send_the_header_even_with_a_certificate(
    sandbox: Sandbox, tmp_path: Path, header: str
) -> None:
    async with _proxied(sandbox, tmp_path, _ELSEWHERE) as proxied:
        shown = _forwarded(proxied.authority.issue())
        assert (await proxied.caller.notify(**{header: shown})).status == 403
        async with calling_with(proxied.running, write_pair(tmp_path, "d1", proxied.authority.issue())) as direct:
            assert (await direct.notify(**{header: shown})).error(403).startswith("the header Client-Cert is accepted")
            assert (await direct.notify()).status == 204
        assert len(await stored(proxied.running)) == 1


async def test_nobody_but_the_proxy_may_call_without_a_certificate(sandbox: Sandbox, tmp_path: Path) -> None:
    async with _proxied(sandbox, tmp_path, _ELSEWHERE) as proxied:
        assert (await proxied.caller.notify()).error(403) == "a client certificate is required"
        assert await stored(proxied.running) == []


async def test_without_a_proxy_the_header_is_refused(caller: EdgeCaller) -> None:
    shown = _forwarded(Authority().issue())
    async with caller.connection() as (reader, writer):
        writer.write(raw_request(b"{}", f"Client-Cert: {shown}"))
        (await caller.read(reader)).error(403)
