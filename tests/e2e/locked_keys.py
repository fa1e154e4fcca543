"""Private keys behind a passphrase."""

import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey

from sandbox.common.pki import Identity

__all__ = ["lock", "locked", "written"]


def written(file: Path, content: bytes) -> Path:
    """Write a file that its owner alone can read."""
    file.touch(mode=0o600)
    file.write_bytes(content)
    return file


def locked(jwk: Path, passphrase: bytes) -> Path:
    """Write a JWK as PEM behind a passphrase, beside it."""
    key = ECKey.import_key(json.loads(jwk.read_bytes()))
    file = jwk.with_name(jwk.name.replace(".jwk.json", ".pem"))
    return written(file, key.as_pem(private=True, password=passphrase.decode()))


def lock(identity: Identity, passphrase: bytes) -> None:
    """Put the key of a certificate behind a passphrase."""
    private = serialization.load_pem_private_key(identity.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(passphrase)
    identity.key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
