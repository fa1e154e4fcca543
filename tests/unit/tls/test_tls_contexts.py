import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.settings import D1Settings, EdgeSettings, GrpcSettings, SettingsError
from gateway.tls import contexts
from sandbox.common.pki import Identity, make_pki

_TABLES: dict[str, tuple[type[EdgeSettings | D1Settings | GrpcSettings], Callable[[Any], Any]]] = {
    "edge": (EdgeSettings, contexts.edge_context),
    "d1": (D1Settings, lambda d1: contexts.d1_context(d1, "d1", d1)),
    "grpc": (GrpcSettings, contexts.grpc_configuration),
}


def _context(table: str, shown: Identity, **files: Path | None) -> Any:
    """Make what a table of the settings is for, with a certificate and further files."""
    settings, make = _TABLES[table]
    client_ca = {"tls_client_ca_file": shown.certificate} if table == "edge" else {}
    values = {"tls_certificate_file": shown.certificate, "tls_key_file": shown.key, **client_ca, **files}
    return make(settings.model_validate(values))


def _mistake(table: str, shown: Identity, **files: Path | None) -> str:
    with pytest.raises(SettingsError) as raised:
        _context(table, shown, **files)
    (mistake,) = raised.value.mistakes
    return mistake


def _private(file: Path, content: bytes) -> Path:
    file.touch(mode=0o600)
    file.write_bytes(content)
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_pki(tmp_path_factory.mktemp("keys")).grpc_server


@pytest.fixture(params=[serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def encrypted(server: Identity, tmp_path: Path, request: pytest.FixtureRequest) -> Identity:
    """The same certificate, its key behind a passphrase."""
    key = serialization.load_pem_private_key(server.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"a passphrase")
    pem = key.private_bytes(serialization.Encoding.PEM, request.param, encryption)
    return replace(server, key=_private(tmp_path / "encrypted.pem", pem))


@pytest.mark.parametrize(("spoilt", "reason"), [("certificate", "PEM"), ("key", "key values mismatch")])
def test_a_certificate_that_grpc_could_not_present_is_refused_before_it_listens(
    server: Identity, tmp_path: Path, spoilt: str, reason: str
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    other = {"certificate": empty, "key": make_pki(tmp_path / "others").grpc_server.key}[spoilt]

    mistake = _mistake("grpc", server, **{f"tls_{spoilt}_file": other})

    assert mistake.startswith("grpc.tls_certificate_file, grpc.tls_key_file: ")
    assert reason in mistake


async def test_a_key_behind_a_passphrase_is_opened_and_presented(encrypted: Identity, tmp_path: Path) -> None:
    passphrase = _private(tmp_path / "passphrase", b"a passphrase\n")
    context = _context("edge", encrypted, tls_key_passphrase_file=passphrase)
    listening = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile=str(encrypted.certificate.with_name("server-ca.pem")))
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()

    assert ssl.DER_cert_to_PEM_cert(shown) == encrypted.certificate.read_text()


@pytest.mark.parametrize("table", ["grpc", "d1"])
def test_a_passphrase_is_taken_for_callers_and_for_d1_too(encrypted: Identity, tmp_path: Path, table: str) -> None:
    assert _context(table, encrypted, tls_key_passphrase_file=_private(tmp_path / "passphrase", b"a passphrase"))


@pytest.mark.parametrize("table", _TABLES)
@pytest.mark.parametrize(
    ("passphrase", "reason"),
    [(None, "is encrypted and needs its passphrase"), (b"wrong", "does not open with this passphrase")],
)
def test_a_key_that_stays_closed_is_refused_without_a_word_of_the_passphrase(
    encrypted: Identity, tmp_path: Path, table: str, passphrase: bytes | None, reason: str
) -> None:
    file = None if passphrase is None else _private(tmp_path / "passphrase", passphrase)

    mistake = _mistake(table, encrypted, tls_key_passphrase_file=file)

    assert mistake == f"{table}.tls_key_file: {encrypted.key} {reason}"


@pytest.mark.parametrize("table", _TABLES)
def test_a_passphrase_for_a_key_that_is_not_encrypted_is_refused(server: Identity, tmp_path: Path, table: str) -> None:
    passphrase = _private(tmp_path / "passphrase", b"a passphrase")

    assert "is not encrypted" in _mistake(table, server, tls_key_passphrase_file=passphrase)


def test_a_client_ca_by_which_grpc_would_refuse_every_caller_is_refused(server: Identity, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(b"\0")

    mistake = _mistake("grpc", server, tls_client_ca_file=ca_file)

    assert mistake.startswith(f"grpc.tls_client_ca_file: {ca_file} holds no CA certificate")
