"""What `config check --connect` says of servers that can be used, and of those that cannot."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from gateway.bootstrap.trials import tried
from gateway.settings import load
from sandbox import Sandbox
from sandbox.common.pki import Identity, Pki, make_pki
from sandbox.common.tls import server_context
from sandbox.gateway import GatewayConfig
from tests.e2e.command import d1_gateway
from tests.integration.upstreams.raw_server import raw_server, refusing, sends

_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"
_D1 = "D1 {d1} with the certificate of [d1]"
_TOKEN = "D1 access token of SANDBOX001"
_THREEDS = "3-D Secure server {threeds}"


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates and keys that nobody in the sandbox knows."""
    return make_pki(tmp_path_factory.mktemp("strangers"))


async def failures(config: GatewayConfig, folder: Path, **more: Any) -> dict[str, str]:
    """Try the connections of settings; return what is said of each, and nothing of one that can be used."""
    (file := folder / "d1-gateway.toml").write_text(replace(config, **more).to_toml())
    tries = await tried(load(file))
    return {each.what: "" if each.failure is None else f"{each.failure.why}; {each.failure.advice}" for each in tries}


async def threeds_failure(config: GatewayConfig, folder: Path, url: str, ca_file: Path | None = None) -> str:
    table = {"connect_timeout_seconds": 0.3} | ({} if ca_file is None else {"tls_ca_file": ca_file})
    return (await failures(config, folder, threeds_url=url, more={"threeds": table}))[f"3-D Secure server {url}"]


@pytest.fixture
def config(shared_sandbox: Sandbox, tmp_path: Path) -> GatewayConfig:
    return GatewayConfig.of(shared_sandbox, tmp_path)


async def test_what_can_be_used_is_one_line_each_and_nothing_secret_is_printed(
    shared_sandbox: Sandbox, config: GatewayConfig, tmp_path: Path
) -> None:
    (file := tmp_path / "d1-gateway.toml").write_text(config.to_toml())

    checked = await d1_gateway("config", "check", "--connect", "--config", file)

    names = {"d1": shared_sandbox.d1_url, "threeds": shared_sandbox.threeds_url}
    assert (checked.status, checked.stderr) == (0, "")
    assert checked.stdout.splitlines() == [f"{each.format(**names)}: ok" for each in (_D1, _TOKEN, _THREEDS)]
    assert shared_sandbox.threeds_api_key not in checked.stdout


async def test_one_connection_that_cannot_be_used_makes_the_command_fail_with_the_other_results(
    config: GatewayConfig, tmp_path: Path
) -> None:
    (file := tmp_path / "d1-gateway.toml").write_text(replace(config, threeds_url="https://127.0.0.1:9").to_toml())

    checked = await d1_gateway("config", "check", "--connect", "--config", file)

    assert (checked.status, checked.stderr) == (1, "")
    *used, refused = checked.stdout.splitlines()
    assert all(line.endswith(": ok") for line in used)
    assert refused == (
        "3-D Secure server https://127.0.0.1:9: FAILED: the connection was refused; "
        "check that the server runs, and its port"
    )


async def test_a_server_of_another_ca_is_told_with_the_setting_of_its_ca(
    config: GatewayConfig, tmp_path: Path, strangers: Pki
) -> None:
    said = await failures(config, tmp_path, more={"d1": {"tls_ca_file": strangers.server_ca}})

    connection, token, threeds = said.values()
    assert connection.startswith("its certificate is of another CA (")
    assert connection.endswith("name the CA that issued it in d1.tls_ca_file")
    assert "its certificate is not trusted" in token
    assert token.endswith("see the connection to D1")
    assert threeds == ""


async def test_d1_that_knows_neither_the_certificate_nor_the_key_says_so(
    config: GatewayConfig, tmp_path: Path, strangers: Pki
) -> None:
    context = server_context(config.pki.d1_server, strangers.gateway_client_ca)
    async with refusing(context) as url:
        refused, lost, _ = (await failures(config, tmp_path, d1_url=url)).values()
    assert refused.startswith("it refuses the gateway's client certificate (TLS alert: unknown ca); check that")
    assert "it refuses the gateway's client certificate" in lost

    certificate = {
        "tls_certificate_file": strangers.gateway_client.certificate,
        "tls_key_file": strangers.gateway_client.key,
    }
    closed, *_ = (await failures(config, tmp_path, more={"d1": certificate})).values()
    assert closed.startswith("it closed the connection without an answer; check the client certificate")

    used, no_token, _ = (await failures(config, tmp_path, assertion_keys=(strangers.assertion_key,))).values()
    assert used == ""
    assert no_token.startswith("HTTP 40")
    assert no_token.endswith("check that D1 knows this key under its kid, the issuer's id, and this machine's clock")


async def test_a_certificate_for_another_name_or_that_has_expired_is_told_apart(
    config: GatewayConfig, tmp_path: Path
) -> None:
    expired = make_pki(tmp_path / "expired", timedelta(minutes=-1))
    async with raw_server(sends(), server_context(config.pki.threeds_server), "127.0.0.2") as other_name:
        said = await threeds_failure(config, tmp_path, other_name.url.replace("localhost", "127.0.0.2"))
    assert said.startswith("its certificate is for another name (")
    async with raw_server(sends(), server_context(expired.threeds_server)) as ended:
        said = await threeds_failure(config, tmp_path, ended.url, expired.server_ca)
    assert said.startswith("its certificate has expired (")


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A port that accepts connections and never answers."""
    ended = asyncio.Event()

    async def wait(*_: object) -> None:
        await ended.wait()

    async with raw_server(wait) as running:
        yield running.url
        ended.set()


async def test_a_port_that_never_answers_or_ends_at_once_or_is_no_server_of_tls_or_http_is_told(
    config: GatewayConfig, tmp_path: Path
) -> None:
    identity: Identity = config.pki.threeds_server
    async with silent() as url:
        for scheme in ("http", "https"):
            said = await threeds_failure(config, tmp_path, url.replace("http", scheme))
            assert said.startswith("no answer in time; a firewall may")
    async with raw_server(sends(), server_context(identity)) as ending:
        said = await threeds_failure(config, tmp_path, ending.url)
        assert said.startswith("it closed the connection without an answer")
    async with raw_server(sends(b"SSH-2.0-server\r\n\r\n")) as other:
        said = await threeds_failure(config, tmp_path, other.url)
        assert said == "what answers is no HTTP server; check the port"
        said = await threeds_failure(config, tmp_path, other.url.replace("http", "https"))
        assert said.startswith(("the TLS handshake failed (", "no answer in time"))
    assert (await threeds_failure(config, tmp_path, "https://a..b")).startswith("its name does not resolve")
    said = await threeds_failure(config, tmp_path, "https://nowhere.invalid")
    assert said.startswith(("its name does not resolve", "no answer in time"))


@pytest.mark.parametrize(("seconds", "said"), [(-3600, "s ahead of its"), (3600, "s behind its"), (30, "")])
async def test_a_clock_that_differs_is_told(config: GatewayConfig, tmp_path: Path, seconds: int, said: str) -> None:
    date = formatdate(time.time() + seconds, usegmt=True)
    async with raw_server(sends(_FOUND + f"Date: {date}\r\n\r\n".encode())) as skewed:
        found = await threeds_failure(config, tmp_path, skewed.url)
    assert said in found
    assert bool(found) is bool(said)


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
        "x" + " " * 60_000 + "x",
    ],
    ids=["year", "zone", "spaces"],
)
async def test_a_date_that_is_none_neither_breaks_nor_holds_up_a_trial(
    config: GatewayConfig, tmp_path: Path, date: str
) -> None:
    async with raw_server(sends(_FOUND + f"Date: {date}\r\n\r\n".encode())) as hostile:
        began = time.process_time()
        assert await threeds_failure(config, tmp_path, hostile.url) == ""
    assert time.process_time() - began < 5


async def test_a_jwks_url_and_an_otlp_endpoint_are_tried_where_they_are_set(
    config: GatewayConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    head, page = _FOUND + b"\r\n", b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"keys": [{}]'
    keys = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"keys":[]}'

    async def each(answer: bytes) -> str:
        answers = iter((head, answer))

        async def next_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await sends(next(answers))(reader, writer)

        async with raw_server(next_answer) as server:
            tokens = {"issuer": "https://issuer.example", "jwks_url": f"{server.url}/keys?token=secret"}
            said = await failures(config, tmp_path, more={"access.tokens": tokens})
            assert said["OTLP http://127.0.0.1:9"].startswith("the connection was refused")
            return said[f"JWKS {server.url}/keys"]

    for endpoint, shown, why in (
        ("http://user:secret@127.0.0.1:9/v1?key=secret", "http://127.0.0.1:9", "the connection was refused"),
        ("collector:4318", "collector://", "it is not an http or https URL"),
        ("https://collector.invalid", "https://collector.invalid", "OTEL_EXPORTER_OTLP_CERTIFICATE cannot be read"),
    ):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")
        assert (await failures(config, tmp_path))[f"OTLP {shown}"].startswith(why)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")

    assert await each(page) == "it has no JWK set: not a JWK set; check access.tokens.jwks_url and algorithms"
    assert await each(keys) == "its JWK set has no usable key; check access.tokens.jwks_url and algorithms"
    assert (await each(_FOUND + b"\r\n")).startswith("it has no JWK set: HTTP 404")
