"""Callback tokens. A token itself proves that this gateway made it, and contains the deadline of its callback.

So the gateway remembers nothing of a callback that has ended, and still tells a late reply from one to an unknown
callback.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

__all__ = ["CallbackTokens", "owner_of"]

_NONCE_BYTES = 12
_DEADLINE_BYTES = 8
_MAC_BYTES = 16
_CHARACTERS = 48
"""The length of a token in Base64, without its owner."""


class CallbackTokens:
    """Makes and verifies tokens under a random key of its own."""

    def __init__(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes, *, owner: str = "") -> None:
        """Make the key.

        Args:
            random_bytes: The source of randomness.
            owner: The id of this gateway in a cluster: see `owner_of`.
        """
        self._random_bytes = random_bytes
        self._owner = owner
        self._key = random_bytes(32)

    def make(self, deadline: float) -> str:
        """Make an unguessable token.

        Args:
            deadline: The deadline in seconds of the broker's clock.
        """
        body = self._random_bytes(_NONCE_BYTES) + int(deadline * 1e6).to_bytes(_DEADLINE_BYTES)
        return self._owner + urlsafe_b64encode(body + self._mac(body)).decode()

    def deadline(self, token: str) -> float | None:
        """Return a token's deadline; None if the token is not from here."""
        if not token.startswith(self._owner):
            return None
        encoded = token.removeprefix(self._owner)
        try:
            decoded = urlsafe_b64decode(encoded.encode("ascii"))
        except ValueError:
            return None
        body, mac = decoded[:-_MAC_BYTES], decoded[-_MAC_BYTES:]
        if len(body) != _NONCE_BYTES + _DEADLINE_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            return None
        # The decoder skips characters outside Base64; a token with such characters is forged.
        if urlsafe_b64encode(decoded).decode() != encoded:
            return None
        return int.from_bytes(body[_NONCE_BYTES:]) / 1e6

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=self._key).digest()


def owner_of(token: str) -> str:
    """Return the id of the gateway that made a token; empty outside a cluster."""
    return token[:-_CHARACTERS]
