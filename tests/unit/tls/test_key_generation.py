import json
import stat
import subprocess
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from joserfc import jwe, jws
from joserfc.jwk import ECKey
from jwcrypto import jwe as oracle_jwe  # type: ignore[import-untyped] # ships no types
from jwcrypto import jwk as oracle_jwk
from jwcrypto import jws as oracle_jws

from gateway.tls import key_generation, keys
from gateway.tls.key_generation import (
    ENCRYPTION,
    SIGNING,
    ClientAlgorithm,
    ClientKey,
    Environment,
    KeyGenerationError,
    NewFile,
    Subject,
)

PASSPHRASE = b"correct horse battery staple"
RSA, ECDSA = ClientAlgorithm.RSA, ClientAlgorithm.ECDSA
RSA_NAME = "TLSMA-RSA/ISSUER0001/PPR"
needs_openssl = pytest.mark.skipif(which("openssl") is None, reason="there is no openssl")


@pytest.fixture(scope="module")
def rsa_key() -> ClientKey:
    return key_generation.make_client_key(RSA)


def openssl(*arguments: str | Path) -> str:
    command = ["openssl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)  # noqa: S603
    return done.stdout + done.stderr


def private(path: Path, content: bytes) -> NewFile:
    return NewFile(path, content, private=True)


def oracle(key: ECKey) -> oracle_jwk.JWK:
    """Return the public half as another library reads it."""
    return oracle_jwk.JWK.from_json(key_generation.public_jwk(key).decode())


@pytest.mark.parametrize("kid", ["", " ", "a kid", "kid\n", "schlüssel", "\x1b[2J"])
def test_a_kid_that_is_not_visible_ascii_is_refused(kid: str) -> None:
    with pytest.raises(KeyGenerationError, match="kid"):
        key_generation.make_key(SIGNING, kid)


def test_what_the_assertion_key_signs_is_verified_by_another_library() -> None:
    key = key_generation.make_key(SIGNING)
    token = jws.serialize_compact({"alg": "ES256", "kid": str(key.kid)}, b"claims", key, algorithms=["ES256"])

    verified = oracle_jws.JWS()
    verified.deserialize(token, oracle(key), alg="ES256")

    assert verified.payload == b"claims"


def test_what_another_library_encrypts_for_the_encryption_key_is_read(tmp_path: Path) -> None:
    key = key_generation.make_key(ENCRYPTION)
    recipient = oracle(key)
    header = json.dumps({"alg": "ECDH-ES", "enc": "A256GCM", "kid": key.kid})
    token = oracle_jwe.JWE(b"card", protected=header, recipient=recipient).serialize(compact=True)
    file = tmp_path / "encryption.jwk.json"
    key_generation.write_new(private(file, key_generation.private_form(key, None)))

    read = keys.load("a.setting", file, private=True)

    assert jwe.decrypt_compact(token, read, algorithms=["ECDH-ES", "A256GCM"]).plaintext == b"card"


def test_the_public_jwk_holds_nothing_that_somebody_put_into_the_file_besides(tmp_path: Path) -> None:
    key = key_generation.make_key(SIGNING)
    file = tmp_path / "key"
    file.write_text(json.dumps({**key.as_dict(private=True), "backup": key["d"], "key_ops": ["sign"]}))

    public = key_generation.public_jwk(keys.load("a.setting", file, private=True))

    assert public == key_generation.public_jwk(key)


def test_no_two_keys_are_alike() -> None:
    assert key_generation.make_key(SIGNING).kid != key_generation.make_key(SIGNING).kid


def test_a_key_behind_a_passphrase_is_read_with_it(tmp_path: Path) -> None:
    key, file = key_generation.make_key(SIGNING), tmp_path / "key.pem"
    content = key_generation.private_form(key, PASSPHRASE)
    file.write_bytes(content)

    assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    read = keys.load("a.setting", file, kid=key.kid, private=True, passphrase=PASSPHRASE)
    assert (read.kid, read["d"]) == (key.kid, key["d"])


@needs_openssl
def test_openssl_opens_a_key_behind_a_passphrase_and_finds_p256(tmp_path: Path) -> None:
    key_file, passphrase_file = tmp_path / "key.pem", tmp_path / "passphrase"
    key_file.write_bytes(key_generation.private_form(key_generation.make_key(ENCRYPTION), PASSPHRASE))
    passphrase_file.write_bytes(PASSPHRASE + b"\n")

    said = openssl("pkey", "-in", key_file, "-passin", f"file:{passphrase_file}", "-noout", "-text_pub", "-check")

    assert "Key is valid" in said
    assert "NIST CURVE: P-256" in said
    assert "AES-256-CBC" in openssl("asn1parse", "-in", key_file).upper()


def test_a_passphrase_that_could_not_be_read_back_is_refused() -> None:
    key = key_generation.make_key(SIGNING)

    key_generation.private_form(key, b"x" * 1023)
    with pytest.raises(KeyGenerationError, match="longer than 1023"):
        key_generation.private_form(key, b"x" * 1024)


def test_a_public_half_has_no_private_form() -> None:
    public = key_generation.make_key(SIGNING).as_dict(private=False)

    with pytest.raises(ValueError, match="no private half"):
        key_generation.private_form(ECKey.import_key(public), None)


def test_client_keys_are_rsa_4096_and_p256(rsa_key: ClientKey) -> None:
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    assert rsa_key.key_size == 4096
    ecdsa_key = key_generation.make_client_key(ECDSA)
    assert isinstance(ecdsa_key, ec.EllipticCurvePrivateKey)
    assert ecdsa_key.curve.name == "secp256r1"


def test_a_client_key_opens_with_its_passphrase_only() -> None:
    key = key_generation.make_client_key(ECDSA)
    content = key_generation.pem(key, PASSPHRASE)

    assert load_pem_private_key(content, PASSPHRASE).public_key() == key.public_key()
    # One wrong passphrase in some 250 leads to bytes that end as padding does, and to the second message.
    with pytest.raises(ValueError, match=r"Incorrect password|Could not deserialize"):
        load_pem_private_key(content, b"another one")


@pytest.mark.parametrize("algorithm", ClientAlgorithm)
@needs_openssl
def test_openssl_verifies_and_reads_the_request(tmp_path: Path, rsa_key: ClientKey, algorithm: ClientAlgorithm) -> None:
    key = rsa_key if algorithm is RSA else key_generation.make_client_key(algorithm)
    subject = Subject(RSA_NAME, "FR", "Île-de-France", "Paris", "A Bank, Cards", "Payments")
    request, file = key_generation.signing_request(key, subject), tmp_path / "request.csr"
    file.write_bytes(request.public_bytes(Encoding.PEM))

    said = openssl("req", "-in", file, "-noout", "-verify", "-subject", "-text", "-nameopt", "multiline,utf8,-esc_msb")

    assert "verify OK" in said
    assert "Public-Key: (4096 bit)" in said or "NIST CURVE: P-256" in said
    assert "Signature Algorithm: sha256WithRSAEncryption" in said or "Signature Algorithm: ecdsa-with-SHA256" in said
    for attribute in (
        "countryName               = FR",
        "stateOrProvinceName       = Île-de-France",
        "localityName              = Paris",
        "organizationName          = A Bank, Cards",
        "organizationalUnitName    = Payments",
        f"commonName                = {RSA_NAME}",
    ):
        assert attribute in said


@pytest.mark.parametrize(
    ("name", "algorithm", "environment"),
    [
        (RSA_NAME, RSA, Environment.PREPROD),
        ("TLSMA-RSA/PRD/ISSUER0001", RSA, Environment.PRODUCTION),
        ("TLSMA-RSA/ISSUER0001-PRD-1", RSA, Environment.PRODUCTION),
        ("TLSMA-ECDSA/ISSUER0001/PPR", ECDSA, Environment.PREPROD),
    ],
)
def test_the_environment_is_in_the_common_name(name: str, algorithm: ClientAlgorithm, environment: Environment) -> None:
    assert key_generation.environment_of(name, algorithm) is environment


@pytest.mark.parametrize(
    ("name", "algorithm", "fault"),
    [
        ("ISSUER0001/PPR", RSA, "TLSMA-RSA/"),
        ("tlsma-rsa/ISSUER0001/PPR", RSA, "TLSMA-RSA/"),
        ("TLSMA-ECDSA/ISSUER0001/PPR", RSA, "TLSMA-RSA/"),
        (RSA_NAME, ECDSA, "TLSMA-"),
        ("ISSUER0001/PPR", ECDSA, "TLSMA-"),
        ("TLSMA-RSA/ISSUER0001", RSA, "environment"),
        ("TLSMA-RSA/ISSUER0001/PROD", RSA, "environment"),
        ("TLSMA-RSA/ISSUER0001/ppr", RSA, "environment"),
        ("TLSMA-RSA/PPRISSUER1", RSA, "environment"),
        ("TLSMA-RSA/PPR/PRD", RSA, "environment"),
    ],
)
def test_a_common_name_that_d1_would_refuse_is_refused(name: str, algorithm: ClientAlgorithm, fault: str) -> None:
    with pytest.raises(KeyGenerationError, match=fault):
        key_generation.environment_of(name, algorithm)


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"common_name": ""}, "common name"),
        ({"common_name": "x" * 65}, "common name"),
        ({"common_name": "with\nline"}, "common name"),
        ({"country": "fr"}, "country"),
        ({"country": "FRA"}, "country"),
        ({"country": "ÉÀ"}, "country"),
        ({"state": ""}, "state"),
        ({"locality": "x" * 129}, "locality"),
        ({"organization": " A Bank"}, "organization"),
        ({"organization_unit": "x" * 65}, "organization unit"),
    ],
)
def test_a_subject_that_x509_has_no_place_for_is_refused(attributes: dict[str, str], fault: str) -> None:
    with pytest.raises(KeyGenerationError, match=f"^the {fault} must be"):
        Subject(**{"common_name": RSA_NAME, **attributes})


def test_private_files_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    private_file, public_file = tmp_path / "private", tmp_path / "public"

    key_generation.write_new(private(private_file, b"a"), NewFile(public_file, b"b", private=False))

    assert stat.S_IMODE(private_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_file.stat().st_mode) & ~0o644 == 0
    assert (private_file.read_bytes(), public_file.read_bytes()) == (b"a", b"b")


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path: Path) -> None:
    link = tmp_path / "key"
    link.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileExistsError):
        key_generation.write_new(private(link, b"a"))

    assert not (tmp_path / "elsewhere").exists()


def test_a_new_file_does_not_show_what_is_in_it(tmp_path: Path) -> None:
    assert "secret" not in repr(private(tmp_path / "key", b"secret"))
