"""The keys of the token endpoint as the settings name them."""

from pathlib import Path

import orjson
import pytest
from joserfc.jwk import ECKey

from gateway.bootstrap import edge
from gateway.edge.auth_tokens import Client, Tokens
from gateway.settings import EdgeOAuthSettings, SettingsError


def _private(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.touch(mode=0o600)
    file.write_bytes(content)
    return file


def _settings(folder: Path, key: ECKey, **changes: object) -> EdgeOAuthSettings:
    values = {
        "client_id": "d1",
        "client_secret_sha256": "0a" * 32,
        "signing_key_file": _private(folder, "key.pem", key.as_pem(private=True)),
    }
    return EdgeOAuthSettings.model_validate(values | changes)


def client_of(tokens: Tokens, issuer_id: str = "") -> Client:
    client = tokens.clients.of_issuer(issuer_id)
    assert client is not None
    return client


def test_a_key_behind_a_passphrase_is_opened_with_it(tmp_path: Path) -> None:
    key = ECKey.generate_key("P-256")
    encrypted = _private(tmp_path, "encrypted.pem", key.as_pem(private=True, password="a passphrase"))
    passphrase = _private(tmp_path, "passphrase", b"a passphrase\n")
    plain = edge.tokens(_settings(tmp_path, key))
    opened = edge.tokens(_settings(tmp_path, key, signing_key_file=encrypted, signing_key_passphrase_file=passphrase))

    assert plain.client_of(opened.issue(client_of(opened)).value)


@pytest.mark.parametrize(
    ("passphrase", "reason"), [(None, "needs its passphrase"), (b"wrong\n", "does not open with this passphrase")]
)
def test_a_key_that_stays_closed_is_refused_without_a_word_of_the_passphrase(
    tmp_path: Path, passphrase: bytes | None, reason: str
) -> None:
    key = ECKey.generate_key("P-256")
    encrypted = _private(tmp_path, "encrypted.pem", key.as_pem(private=True, password="a passphrase"))
    file = None if passphrase is None else _private(tmp_path, "passphrase", passphrase)
    settings = _settings(tmp_path, key, signing_key_file=encrypted, signing_key_passphrase_file=file)

    with pytest.raises(SettingsError) as raised:
        edge.tokens(settings)
    assert str(raised.value).startswith("edge.oauth.signing_key_file: ")
    assert reason in str(raised.value)
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_the_tokens_of_every_verification_key_are_taken(tmp_path: Path, form: str) -> None:
    ours, *others = (ECKey.generate_key("P-256") for _ in range(3))
    files = []
    for number, key in enumerate(others):
        file = tmp_path / f"{number}.{form}"
        public = key.as_pem(private=False) if form == "pem" else orjson.dumps(key.as_dict(private=False))
        file.write_bytes(public)
        files.append(file)
    accepting = edge.tokens(_settings(tmp_path, ours, verification_key_files=files))

    for key in others:
        issuing = edge.tokens(_settings(tmp_path, key))
        token = issuing.issue(client_of(issuing)).value
        assert accepting.client_of(token)
        assert not edge.tokens(_settings(tmp_path, ours)).client_of(token)


def test_a_private_key_does_not_belong_among_the_verification_keys(tmp_path: Path) -> None:
    private = _private(tmp_path, "other.pem", ECKey.generate_key("P-256").as_pem(private=True))
    settings = _settings(tmp_path, ECKey.generate_key("P-256"), verification_key_files=[private])

    with pytest.raises(SettingsError, match=r"^edge\.oauth\.verification_key_files: .* only the public half belongs"):
        edge.tokens(settings)


def test_an_issuers_own_client_is_made_of_its_own_table(tmp_path: Path) -> None:
    own = {"client_id": "d1-2", "client_secret_sha256": "0b" * 32, "scope": "notify"}
    key = ECKey.generate_key("P-256")
    made = edge.tokens(_settings(tmp_path, key, clients={"ISSUER0002": own}))

    assert client_of(made, "ISSUER0001") is client_of(made) == Client("d1", "0a" * 32, "")
    assert client_of(made, "ISSUER0002") == Client("d1-2", "0b" * 32, "notify", "ISSUER0002")
    alone = _settings(tmp_path, key, client_id=None, client_secret_sha256=None, clients={"ISSUER0002": own})
    assert edge.tokens(alone).clients.of_issuer("ISSUER0001") is None
