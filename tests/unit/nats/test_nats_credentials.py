import base64
import binascii
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.nats.connection.dial import Credentials, CredentialsError

_USER = bytes([0x95, 0x00])
_ACCOUNT = bytes([0x90, 0x00])

KEY = bytes(range(32))


def seed(raw: bytes = KEY, kind: bytes = _USER) -> str:
    content = kind + raw
    return base64.b32encode(content + binascii.crc_hqx(content, 0).to_bytes(2, "little")).decode().rstrip("=")


def creds(path: Path, *, jwt: str = "e30.e30.c2ln", seed: str = seed()) -> Path:
    path.touch(0o600)
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    return path


def test_a_file_tells_who_we_are_and_lets_us_prove_it(tmp_path: Path) -> None:
    credentials = Credentials.load(creds(tmp_path / "user.creds"))

    assert credentials.jwt() == b"e30.e30.c2ln"
    signature = base64.b64decode(credentials.sign("nonce"))
    Ed25519PrivateKey.from_private_bytes(KEY).public_key().verify(signature, b"nonce")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (seed()[:-1] + ("A" if seed()[-1] != "A" else "B"), "damaged"),
        (seed()[:-8], "damaged"),
        (seed(kind=_ACCOUNT), "not a user's seed"),
        ("S0", "does not hold"),
    ],
)
def test_a_seed_that_cannot_be_used_is_refused_without_telling_it(tmp_path: Path, wrong: str, why: str) -> None:
    path = creds(tmp_path / "user.creds", seed=wrong)

    with pytest.raises(CredentialsError, match=why) as raised:
        Credentials.load(path)

    assert wrong not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "FileNotFoundError"),
        (b"", "does not hold"),
        (b"no credentials", "does not hold"),
        (b"\xff\xfe", "Unicode"),
    ],
)
def test_a_file_that_is_another_or_is_not_there_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "user.creds"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)

    with pytest.raises(CredentialsError, match=why):
        Credentials.load(path)


def test_a_file_that_became_readable_for_others_is_refused(tmp_path: Path) -> None:
    path = creds(tmp_path / "user.creds")
    path.chmod(0o644)

    with pytest.raises(CredentialsError, match=r"accessible to others: .*user\.creds \(owner .* mode 0644;"):
        Credentials.load(path)
