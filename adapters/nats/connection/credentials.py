"""The credentials of a NATS user, as a ``.creds`` file holds them: a JWT, and the key that proves it is ours."""

import base64
import binascii
import re
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Credentials", "CredentialsError"]

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----\s+([A-Za-z0-9_.-]+)\s+-+END [A-Z ]+-+")
_SEED_BYTES: Final = 2 + 32 + 2
"""Two that say what kind of key it is, the key, and a checksum."""


class CredentialsError(Exception):
    """A file holds no credentials. The message tells nothing of what it holds."""


class Credentials:
    """Who we are, and the proof."""

    def __init__(self, jwt: str, key: Ed25519PrivateKey) -> None:
        """Use `load`."""
        self._jwt = jwt
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file; blocks for as long as the disk takes.

        Raises:
            CredentialsError: It holds no credentials of a user, or cannot be read.
        """
        try:
            blocks = dict(_BLOCK.findall(path.read_text(encoding="ascii")))
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"The credentials file {path} cannot be read: {type(error).__name__}.") from error
        try:
            jwt, seed = blocks["NATS USER JWT"], blocks["USER NKEY SEED"]
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except (KeyError, binascii.Error):
            raise CredentialsError(f"The file {path} does not hold a NATS user's JWT and seed.") from None
        if len(raw) != _SEED_BYTES or int.from_bytes(raw[-2:], "little") != binascii.crc_hqx(raw[:-2], 0):
            raise CredentialsError(f"The seed in {path} is damaged.")
        if not seed.startswith("SU"):
            raise CredentialsError(f"The seed in {path} is not that of a user.")
        return cls(jwt, Ed25519PrivateKey.from_private_bytes(raw[2:-2]))

    def jwt(self) -> bytes:
        """Tell who we are."""
        return self._jwt.encode()

    def sign(self, nonce: str) -> bytes:
        """Prove it, by signing what the server made up."""
        return base64.b64encode(self._key.sign(nonce.encode()))
