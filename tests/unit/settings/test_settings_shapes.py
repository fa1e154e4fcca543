"""The settings files that `config init` writes, and the schema that `config schema` prints."""

import errno
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from typer.testing import CliRunner

from gateway import bootstrap
from gateway.cli.app import app
from gateway.settings import Settings, load
from gateway.settings.schema import reference, schema
from gateway.settings.shapes import Shape, settings_file
from sandbox.common.pki import make_pki
from sandbox.gateway_config import write_policy
from tests.unit.nats.test_nats_credentials import creds

_KEYS = "/etc/d1-gateway"
_OFF = re.compile(r"^# (\[.+\]|[a-z0-9_]+ = .+)$", re.MULTILINE)
_COMMAND = re.compile(r"^# From: d1-gateway (keys .+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the shapes name: keys made by the commands in them, and what others hand over."""
    folder = tmp_path_factory.mktemp("keys")
    for command in _COMMAND.findall(settings_file(Shape.EMBEDDED)):
        words = shlex.split(command.replace(_KEYS, str(folder)).replace("<as Thales wrote it>", "TLSMA-ECDSA/X/PPR"))
        more = ["--algorithm", "ecdsa"] if "csr" in words else []
        assert CliRunner().invoke(app, [*words, *more], catch_exceptions=False).exit_code == 0
    (folder / "d1-client.pem").write_bytes(_signed(folder / "d1-client-key.pem"))
    pki = make_pki(folder / "others")
    for name, made in (
        ("grpc.pem", pki.grpc_server.certificate),
        ("grpc-key.pem", pki.grpc_server.key),
        ("edge.pem", pki.edge_server.certificate),
        ("edge-key.pem", pki.edge_server.key),
        ("callers-ca.pem", pki.caller_ca),
        ("d1-client-ca.pem", pki.d1_client_ca),
        ("d1-encryption-public.jwk.json", pki.encryption_public_key),
        ("nats-ca.pem", pki.nats_ca),
        ("nats-client.pem", pki.nats_client.certificate),
        ("nats-client-key.pem", pki.nats_client.key),
    ):
        made.rename(folder / name)
    write_policy(folder / "policy.toml")
    creds(folder / "nats.creds")
    for name, text in {"idempotency.key": "0a" * 32, "threeds-api-key": "a-key"}.items():
        (folder / name).touch(0o600)
        (folder / name).write_text(text)
    return folder


def _signed(key_file: Path) -> bytes:
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a client")]), datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=90))
    return certificate.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _placed(text: str, keys: Path) -> str:
    return text.replace(_KEYS, str(keys)).replace("/var/lib/d1-gateway", str(keys))


def _all_on(text: str) -> str:
    return _OFF.sub(r"\1", text)


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("is_all_on", [False, True])
def test_each_shape_is_accepted_once_its_keys_are_there(keys: Path, shape: Shape, *, is_all_on: bool) -> None:
    text = settings_file(shape)
    (file := keys / f"{shape}.toml").write_text(_placed(_all_on(text) if is_all_on else text, keys))

    checked = CliRunner().invoke(app, ["config", "check", "--config", str(file)], catch_exceptions=False)

    assert (checked.exit_code, checked.stderr) == (0, "")
    settings = load(file)
    assert (settings.nats is not None) is (shape is Shape.CLUSTER)
    assert (settings.edge.proxy is not None) is (shape is Shape.BEHIND_PROXY)
    assert (settings.threeds is not None, settings.edge.oauth is not None) == (is_all_on, is_all_on)
    bootstrap.check(settings)


def _keys_of(values: Mapping[str, Any], table: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    """Return the keys of a file that its schema does not have."""
    for key, value in values.items():
        field = table["properties"].get(key)
        if field is None:
            yield key
            continue
        nested = document["$defs"].get(reference(field))
        if nested is not None:
            by_id = value.values() if "additionalProperties" in field else [value]
            for each in value if isinstance(value, list) else by_id:
                yield from _keys_of(each, nested, document)


@pytest.mark.parametrize("shape", Shape)
def test_the_schema_has_every_key_of_each_shape(shape: Shape) -> None:
    document = schema(Settings)
    values = tomllib.loads(_all_on(settings_file(shape)))

    assert [*_keys_of(values, document, document)] == []
    assert [*_keys_of(values | {"nope": 1}, document, document)] == ["nope"]


@pytest.mark.parametrize("shape", Shape)
def test_a_validator_accepts_each_shape_by_the_schema_and_finds_a_mistake_in_it(shape: Shape) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="no validator of JSON Schema is installed")
    document, values = schema(Settings), tomllib.loads(_all_on(settings_file(shape)))
    validator = jsonschema.Draft202012Validator(document)
    validator.check_schema(document)
    assert [*validator.iter_errors(values)] == []
    assert [error.json_path for error in validator.iter_errors(values | {"grpc": {"port": 70_000}})] == ["$.grpc.port"]


def test_every_setting_in_the_schema_has_a_description_and_secrets_are_marked() -> None:
    document = schema(Settings)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    fields = [field for table in (document, *document["$defs"].values()) for field in table["properties"].values()]
    assert [field for field in fields if not field.get("description")] == []
    (secret, _) = document["$defs"]["ThreeDSSettings"]["properties"]["api_key"]["anyOf"]
    assert (secret["writeOnly"], secret["format"]) == (True, "password")


def test_init_writes_to_a_file_or_standard_output_and_overwrites_only_if_told_so(tmp_path: Path) -> None:
    file = tmp_path / "d1-gateway.toml"

    def init(*arguments: str) -> tuple[int, str, str]:
        ran = CliRunner().invoke(app, ["config", "init", "--shape", *arguments], catch_exceptions=False)
        return ran.exit_code, ran.stdout, ran.stderr

    assert init("embedded") == (0, settings_file(Shape.EMBEDDED), "")
    assert init("embedded", str(file)) == (0, "", "")
    refused = init("cluster", str(file))
    assert refused == (2, "", f"d1-gateway: {file} exists already; --force overwrites it\n")
    assert file.read_text() == settings_file(Shape.EMBEDDED)
    assert init("cluster", "--force", str(file)) == (0, "", "")
    assert file.read_text() == settings_file(Shape.CLUSTER)
    assert init("cluster", str(tmp_path / "nowhere" / "file"))[0] == 1


def test_on_a_full_disk_init_leaves_no_file_or_the_former_one_with_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    former, link = tmp_path / "former", tmp_path / "link"
    former.write_text("former")
    former.chmod(0o640)
    link.symlink_to(former)
    arguments = ["config", "init", "--shape", "embedded", "--force"]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for file in (tmp_path / "new", link):
            ran = CliRunner().invoke(app, [*arguments, str(file)], catch_exceptions=False)
            assert (ran.exit_code, ran.stderr) == (1, f"d1-gateway: {file}: No space left on device\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["former", "link"]
    assert former.read_text() == "former"

    assert CliRunner().invoke(app, [*arguments, str(link)], catch_exceptions=False).exit_code == 0
    assert (former.read_text(), former.stat().st_mode & 0o777) == (settings_file(Shape.EMBEDDED), 0o640)
    assert link.is_symlink()
