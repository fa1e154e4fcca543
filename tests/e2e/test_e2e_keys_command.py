import hashlib
import json
import re
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from jwcrypto import jwk as oracle_jwk  # type: ignore[import-untyped] # ships no types

from gateway.tls.key_generation import SIGNING, make_key, private_form, public_jwk
from sandbox.common.pki import Identity
from sandbox.gateway import GatewayConfig
from tests.e2e.command import GATEWAY, Ended, d1_gateway, invoked
from tests.e2e.locked_keys import written
from tests.e2e.terminal import at_a_terminal, without_a_terminal

_CSR = ("csr", "--common-name", "TLSMA-ECDSA/ISSUER0001/PPR", "--algorithm", "ecdsa")
_MAKING = [("assertion",), ("encryption",), ("token-signing",), _CSR]
_PASSPHRASE = "correct horse, battery staple: é"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    return written(tmp_path / "passphrase", f"{_PASSPHRASE}\n".encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    return folder


def _said(ended: Ended, what: str) -> str:
    assert ended.status == 0, ended.stderr
    (value,) = re.findall(rf"^{what}: (.*)$", ended.stdout, re.MULTILINE)
    return str(value)


async def _keys(*arguments: str | Path) -> Ended:
    return await invoked(GATEWAY, "keys", *arguments)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize(
    ("command", "use", "algorithm"), [("assertion", "sig", "ES256"), ("encryption", "enc", "ECDH-ES")]
)
async def test_a_key_is_made_and_its_public_half_said_and_written(
    folder: Path, command: str, use: str, algorithm: str
) -> None:
    ended = await d1_gateway("keys", command, "--folder", folder)

    public = json.loads(_said(ended, "public JWK"))
    private = oracle_jwk.JWK.from_json((folder / f"{command}.jwk.json").read_text())
    assert (public["use"], public["alg"]) == (use, algorithm)
    assert public["kid"] == _said(ended, "kid") == private.thumbprint()
    assert public == private.export_public(as_dict=True)
    assert public == json.loads((folder / f"{command}-public.jwk.json").read_text())
    assert _mode(folder / f"{command}.jwk.json") == 0o600
    assert private.export(as_dict=True)["d"] not in ended.stdout
    assert f"{command}-public.jwk.json" in _said(ended, "hand to Thales")


async def test_name_and_kid_are_as_chosen(folder: Path) -> None:
    ended = await _keys("assertion", "--folder", folder, "--name", "second", "--kid", "bank-2")

    assert json.loads(_said(ended, "public JWK"))["kid"] == _said(ended, "kid") == "bank-2"
    assert _names(folder) == ["second-public.jwk.json", "second.jwk.json"]


async def test_an_rsa_request_is_made_by_default(folder: Path) -> None:
    ended = await _keys(
        *("csr", "--common-name", "TLSMA-RSA/ISSUER0001/PRD", "--folder", folder),
        *("--country", "FR", "--organization", "A Bank"),
    )

    request = x509.load_pem_x509_csr((folder / "d1-client.csr").read_bytes())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=TLSMA-RSA/ISSUER0001/PRD,O=A Bank,C=FR" == _said(ended, "subject")
    assert _said(ended, "environment") == "PRD (production)"
    assert _said(ended, "request") == str(folder / "d1-client.csr")
    assert _mode(folder / "d1-client-key.pem") == 0o600
    assert "PRIVATE KEY" not in ended.stdout


async def test_the_gateway_takes_the_keys_and_the_certificate_that_come_of_them(
    config: GatewayConfig, tmp_path: Path, folder: Path
) -> None:
    for command in _MAKING:
        assert (await _keys(*command, "--folder", folder)).status == 0
    certificate = _signed(folder / "d1-client.csr")
    pki = replace(
        config.pki,
        assertion_key=folder / "assertion.jwk.json",
        assertion_public_key=folder / "assertion-public.jwk.json",
        edge_token_key=folder / "edge-token.jwk.json",
        gateway_client=Identity(certificate, folder / "d1-client-key.pem"),
    )
    settings = tmp_path / "settings.toml"
    settings.write_text(replace(config, pki=pki).to_toml())

    ended = await invoked(GATEWAY, "config", "check", "--config", settings)

    assert (ended.status, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", _MAKING, ids=lambda command: command[0])
async def test_what_is_there_is_never_overwritten(folder: Path, command: tuple[str, ...]) -> None:
    assert (await _keys(*command, "--folder", folder)).status == 0
    before = _contents(folder)

    again = await _keys(*command, "--folder", folder)

    assert "exists already" in again.only_line(2)
    assert _contents(folder) == before


async def test_a_public_key_that_is_there_stops_the_private_one_too(folder: Path) -> None:
    (folder / "assertion-public.jwk.json").touch()

    assert "assertion-public.jwk.json" in (await _keys("assertion", "--folder", folder)).only_line(2)
    assert _names(folder) == ["assertion-public.jwk.json"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            "csr --common-name TLSMA-ECDSA/ISSUER0001/PPR --algorithm ecdsa --folder {there}/missing",
            "{there}/missing does not exist",
        ),
        # In /proc not even root can make a file.
        ("assertion --folder /proc", "/proc/assertion.jwk.json: "),
        ("assertion --folder {there} --name=", "not a file name"),
        ("assertion --folder {there} --name ../assertion", "not a file name"),
        ("assertion --folder {there} --name a/b", "not a file name"),
        ("csr --folder {there} --algorithm ecdsa --common-name ISSUER0001", "common name"),
        ("csr --folder {there} --algorithm ecdsa --common-name TLSMA-RSA/ISSUER0001/PPR", "common name"),
        ("csr --folder {there} --algorithm ecdsa --common-name TLSMA-ECDSA/ISSUER0001", "common name"),
        ("encryption --folder {there} --passphrase-file {there}/../open", "accessible to others: {there}/../open ("),
    ],
)
async def test_without_a_usable_place_name_or_passphrase_file_no_key_is_made(
    folder: Path, arguments: str, fault: str
) -> None:
    written(folder.parent / "open", b"word").chmod(0o644)

    ended = await _keys(*arguments.format(there=folder).split(" "))

    assert fault.format(there=folder) in ended.only_line(1)
    assert _names(folder) == []
    assert _names(folder.parent) == ["made", "open"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("csr",),
        ("csr", "--common-name", "TLSMA-RSA/ISSUER0001/PPR", "--algorithm", "dsa"),
        ("assertion", "--passphrase", "--passphrase-file", "x"),
        ("show",),
    ],
    ids=" ".join,
)
async def test_a_wrong_command_line_prints_its_usage(arguments: tuple[str, ...]) -> None:
    ended = await _keys(*arguments)

    assert ended.status == 2
    assert "Usage: d1-gateway keys" in ended.stderr


async def test_a_key_encrypted_at_the_terminal_is_shown_with_the_same_passphrase(folder: Path) -> None:
    made = await at_a_terminal("keys", "assertion", "--folder", folder, "--passphrase", typed=[_PASSPHRASE] * 2)

    assert _names(folder) == ["assertion-public.jwk.json", "assertion.pem"]
    assert _mode(folder / "assertion.pem") == 0o600
    assert (folder / "assertion.pem").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert made.stderr == "Passphrase: \nRepeat the passphrase: \n", "nothing that is typed is shown"
    shown = await at_a_terminal("keys", "show", folder / "assertion.pem", typed=[_PASSPHRASE])
    assert shown.stderr == "Passphrase: \n"
    assert _said(shown, "kid") == _said(made, "kid")
    assert json.loads(_said(shown, "public JWK")).items() <= json.loads(_said(made, "public JWK")).items()


@pytest.mark.parametrize("command", _MAKING, ids=lambda command: command[0])
async def test_every_key_can_be_encrypted_from_a_file(
    folder: Path, passphrase_file: Path, command: tuple[str, ...]
) -> None:
    made = await _keys(*command, "--folder", folder, "--passphrase-file", passphrase_file)

    assert made.status == 0, made.stderr
    (pem,) = (folder / name for name in _names(folder) if name.endswith(".pem"))
    assert "ENCRYPTED" in pem.read_text()
    assert _mode(pem) == 0o600
    shown = await _keys("show", pem, "--passphrase-file", passphrase_file, "--kid", "chosen")
    assert _said(shown, "kid") == json.loads(_said(shown, "public JWK"))["kid"] == "chosen"


@pytest.mark.parametrize(
    ("typed", "fault"),
    [(["one", "another"], "not the same"), ([""], "is empty"), (["x" * 1024] * 2, "longer than 1023")],
)
async def test_a_passphrase_that_will_not_do_makes_no_key(folder: Path, typed: list[str], fault: str) -> None:
    ended = await at_a_terminal("keys", "assertion", "--folder", folder, "--passphrase", typed=typed)

    assert (ended.status, ended.stdout) == (1, "")
    last = ended.mistakes[-1]
    assert last.startswith("d1-gateway: the passphrase ")
    assert fault in last
    assert _names(folder) == []


async def test_without_a_terminal_no_passphrase_is_requested(folder: Path) -> None:
    ended = await without_a_terminal("keys", "assertion", "--folder", folder, "--passphrase", stdin=b"word\nword\n")

    assert "no terminal" in ended.only_line(1)
    assert _names(folder) == []


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("missing", "No such file"),
        (".", "Is a directory"),
        ("public", "only the public half"),
        ("passphrase", "no EC key"),
        ("encrypted", "does not open"),
        ("private", "not encrypted"),
    ],
)
async def test_a_key_that_cannot_be_shown_is_reported_in_one_line(
    tmp_path: Path, passphrase_file: Path, file: str, fault: str
) -> None:
    key = make_key(SIGNING)
    for name, content in (
        ("public", public_jwk(key)),
        ("private", private_form(key, None)),
        ("encrypted", private_form(key, b"another passphrase")),
    ):
        (tmp_path / name).write_bytes(content)
    arguments = ("--passphrase-file", passphrase_file) if file in {"private", "encrypted"} else ()

    line = (await _keys("show", tmp_path / file, *arguments)).only_line(1)

    assert fault in line
    assert str(tmp_path / file) in line


async def test_a_client_secret_is_hashed_from_a_pipe_and_from_a_terminal() -> None:
    secret = "a client secret: é"
    expected = hashlib.sha256(secret.encode()).hexdigest() + "\n"

    piped = await without_a_terminal("keys", "hash-secret", stdin=f"{secret}\n".encode())
    typed = await at_a_terminal("keys", "hash-secret", typed=[secret, secret])

    assert piped == Ended(0, expected, "")
    assert typed == Ended(0, expected, "Client secret: \nRepeat the client secret: \n")


async def test_no_client_secret_is_not_hashed() -> None:
    assert "standard input is empty" in (await without_a_terminal("keys", "hash-secret")).only_line(1)
    differing = await at_a_terminal("keys", "hash-secret", typed=["one", "another"])
    assert (differing.status, differing.stdout) == (1, "")


def _signed(request_file: Path) -> Path:
    """Sign a request as Thales would."""
    request = x509.load_pem_x509_csr(request_file.read_bytes())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A CA")]))
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    file = request_file.with_suffix(".pem")
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return file


async def test_a_kid_from_a_file_cannot_control_a_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07\u202e\x9b2J"
    whole = json.loads(private_form(make_key(SIGNING), None)) | {"kid": hostile}
    (file := tmp_path / "key").write_text(json.dumps(whole))

    shown = await _keys("show", file)

    assert shown.status == 0
    assert shown.stdout.replace("\n", "").isprintable(), "JSON escapes some of them, but not all"
