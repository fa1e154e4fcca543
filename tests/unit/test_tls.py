from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gateway import tls
from gateway.settings import GrpcSettings, SettingsError
from sandbox.pki import Identity, make_pki


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_pki(tmp_path_factory.mktemp("keys")).grpc_server


def _without_certificate(server: Identity, folder: Path) -> Identity:
    empty = folder / "empty.pem"
    empty.touch()
    return replace(server, certificate=empty)


def _with_the_key_of_another(server: Identity, folder: Path) -> Identity:
    return replace(server, key=make_pki(folder / "others").grpc_server.key)


def _with_an_encrypted_key(server: Identity, folder: Path) -> Identity:
    key = serialization.load_pem_private_key(server.key.read_bytes(), None)
    encrypted = folder / "encrypted.pem"
    encryption = serialization.BestAvailableEncryption(b"passphrase")
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    encrypted.chmod(0o600)
    return replace(server, key=encrypted)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without_certificate, "PEM"),
        (_with_the_key_of_another, "key values mismatch"),
        (_with_an_encrypted_key, "without a passphrase"),
    ],
)
def test_a_certificate_that_grpc_could_not_present_is_refused_before_it_listens(
    server: Identity, tmp_path: Path, spoil: Callable[[Identity, Path], Identity], reason: str
) -> None:
    spoiled = spoil(server, tmp_path)
    settings = GrpcSettings(tls_certificate_file=spoiled.certificate, tls_key_file=spoiled.key)

    with pytest.raises(SettingsError) as raised:
        tls.grpc_configuration(settings)

    (mistake,) = raised.value.mistakes
    assert mistake.startswith("grpc.tls_certificate_file, grpc.tls_key_file: ")
    assert reason in mistake


def test_a_client_ca_by_which_grpc_would_refuse_every_caller_is_refused(server: Identity, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(b"\0")
    settings = GrpcSettings(
        tls_certificate_file=server.certificate, tls_key_file=server.key, tls_client_ca_file=ca_file
    )

    with pytest.raises(SettingsError) as raised:
        tls.grpc_configuration(settings)

    assert raised.value.mistakes[0].startswith(f"grpc.tls_client_ca_file: {ca_file} holds no CA certificate")
