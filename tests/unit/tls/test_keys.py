import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey

from gateway.settings import SettingsError
from gateway.tls import keys
from sandbox.common.pki import make_pki

KEY = ECKey.generate_key("P-256")
PRIVATE = KEY.as_dict(private=True)
PUBLIC = KEY.as_dict(private=False)
Content = bytes | str | dict[str, Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (file := tmp_path / "key").touch(0o600)
    return file


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def write(file: Path, content: Content) -> None:
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content))


def mistake(file: Path, content: Content, *, private: bool = True, passphrase: bytes | None = None) -> str:
    write(file, content)
    with pytest.raises(SettingsError) as caught:
        keys.load("edge.some_key_file", file, kid="a-kid", private=private, passphrase=passphrase)
    (found,) = caught.value.mistakes
    assert found.startswith(f"edge.some_key_file: {file} ")
    assert str(PRIVATE["d"]) not in found
    return found


def plain(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def behind(passphrase: bytes, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, legacy: bool = False) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL if legacy else serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(passphrase))


def an_ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("content", "private"),
    [
        (KEY.as_pem(private=True), True),
        (PRIVATE, True),
        ("\n  " + json.dumps(PRIVATE), True),
        (KEY.as_pem(private=False), False),
        (PUBLIC, False),
        ("\n  " + json.dumps(PUBLIC), False),
    ],
    ids=[f"{half} {form}" for half in ("private", "public") for form in ("PEM", "JWK", "JWK after spaces")],
)
def test_a_key_is_read_in_either_form(file: Path, content: Content, *, private: bool) -> None:
    write(file, content)

    read = keys.load("a.setting", file, kid="a-kid", private=private)

    assert read.kid == "a-kid"
    assert read.is_private is private
    assert read.thumbprint() == KEY.thumbprint()


def test_a_key_is_read_from_json_that_others_write_in_their_own_way(file: Path) -> None:
    odd = json.dumps({**PRIVATE, "alg": None, "key_ops": None, "label": "Caf\ud83d", "serial": 10**22})
    write(file, b"\xef\xbb\xbf" + odd.replace('"serial"', '"factor":1e999,"serial"').encode())

    assert keys.load("a.setting", file, kid="a-kid", private=True).thumbprint() == KEY.thumbprint()


def test_the_kid_of_the_settings_wins_over_the_one_in_the_file(file: Path) -> None:
    file.write_text(json.dumps({**PRIVATE, "kid": "in the file"}))

    assert keys.load("a.setting", file, kid="in the settings", private=True).kid == "in the settings"
    assert keys.load("a.setting", file, private=True).kid == "in the file"


@pytest.mark.parametrize(
    ("content", "private", "fault"),
    [
        (PUBLIC, True, "only the public half"),
        (PRIVATE, False, "a private key"),
        (ECKey.generate_key("P-384").as_pem(private=True), True, "curve P-384, not on P-256"),
        (ECKey.generate_key("P-521").as_pem(private=True), True, "curve P-521, not on P-256"),
    ],
    ids=["public for private", "private for public", "P-384", "P-521"],
)
def test_the_wrong_half_or_curve_is_refused(file: Path, content: Content, fault: str, *, private: bool) -> None:
    assert fault in mistake(file, content, private=private)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "{",
        "[]",
        {},
        {"kty": "EC"},
        {"kty": "oct", "k": "AAAA"},
        {**PRIVATE, "crv": "P-999"},
        {**PRIVATE, "crv": 5},
        {**PRIVATE, "x": "AAAA"},
        {**PRIVATE, "x": 5},
        {**PRIVATE, "d": "!"},
        {"keys": [PRIVATE]},
    ],
    ids=range(14),
)
def test_what_is_no_key_is_refused(file: Path, content: Content) -> None:
    for private in (True, False):
        mistake(file, content, private=private)


def test_a_key_of_another_kind_is_refused(file: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    assert "no EC key" in mistake(file, plain(rsa_key))
    assert "no EC key" in mistake(file, behind(b"word", rsa_key), passphrase=b"word")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_key_behind_a_passphrase_is_refused_without_it_and_read_with_it(file: Path, *, legacy: bool) -> None:
    assert "needs its passphrase" in mistake(file, behind(b"word", an_ec_key(), legacy=legacy))
    assert keys.load("a.setting", file, private=True, passphrase=b"word").is_private


@pytest.mark.parametrize("passphrase", [b"Word", b"word\n", b"\xff", b"x" * 5000])
def test_a_key_is_not_read_with_another_passphrase(file: Path, passphrase: bytes) -> None:
    assert "does not open" in mistake(file, behind(b"word", an_ec_key()), passphrase=passphrase)


@pytest.mark.parametrize("content", [KEY.as_pem(private=True), PRIVATE, {**PRIVATE, "kid": "ENCRYPTED"}])
def test_a_passphrase_for_a_key_that_is_not_encrypted_is_refused(file: Path, content: Content) -> None:
    assert "not encrypted" in mistake(file, content, passphrase=b"word")


@pytest.mark.parametrize("legacy", [False, True])
def test_any_key_is_opened_with_its_passphrase(file: Path, rsa_key: rsa.RSAPrivateKey, *, legacy: bool) -> None:
    file.write_bytes(behind(b"word", rsa_key, legacy=legacy))

    assert keys.open_pem("a.setting", file, b"word") == plain(rsa_key)


def test_a_key_that_is_not_encrypted_is_left_as_it_is(file: Path) -> None:
    file.write_bytes(KEY.as_pem(private=True))

    assert keys.open_pem("a.setting", file, None) == KEY.as_pem(private=True)


def test_a_key_that_became_readable_for_others_is_not_loaded_again(file: Path) -> None:
    file.write_bytes(KEY.as_pem(private=True))
    file.chmod(0o644)

    with pytest.raises(SettingsError, match=r"^a\.setting: file accessible to others: .*mode 0644"):
        keys.open_pem("a.setting", file, None)


def test_an_encrypted_key_behind_its_certificate_in_one_file_is_opened(file: Path, tmp_path: Path) -> None:
    certificate = make_pki(tmp_path / "pki").edge_server.certificate.read_bytes()
    key = an_ec_key()
    file.write_bytes(certificate + behind(b"word", key))

    opened = serialization.load_pem_private_key(keys.open_pem("a.setting", file, b"word"), None)

    assert opened.public_key() == key.public_key()


@pytest.mark.parametrize("content", [b"two words", b"two words\n", b"two words\r\n"])
def test_a_passphrase_is_read_without_its_line_ending(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    assert keys.read_passphrase("a.setting", file) == b"two words"


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"word\n\n", 0o600, "holds more than one line"),
        (b"word\nsecond\n", 0o600, "holds more than one line"),
        (b"word", 0o660, "accessible to others"),
        (b"word", 0o604, "accessible to others"),
    ],
)
def test_a_passphrase_missing_or_open_to_others_is_refused(file: Path, content: bytes, mode: int, fault: str) -> None:
    file.write_bytes(content)
    file.chmod(mode)

    with pytest.raises(SettingsError) as caught:
        keys.read_passphrase("a.setting", file)

    (found,) = caught.value.mistakes
    assert found.startswith("a.setting: ")
    assert str(file) in found
    assert fault in found
    assert "word" not in found
