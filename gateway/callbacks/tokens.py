"""The tokens that name questions: they tell by themselves whether they are ours and until when they could be answered.

So nothing has to be remembered of a question that is over, and still a reply that comes too late is told apart from one
to a question that was never asked.
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
"""How long that is in Base64."""


class CallbackTokens:
    """Makes tokens and recognises them; no two of these recognise each other's."""

    def __init__(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes, *, owner: str = "") -> None:
        """Make the key.

        Args:
            random_bytes: Where chance comes from.
            owner: The gateway that gives the tokens out, where there are several: see `owner_of`.
        """
        self._random_bytes = random_bytes
        self._owner = owner
        self._key = random_bytes(32)

    def make(self, deadline: float) -> str:
        """Make a token that cannot be guessed.

        Args:
            deadline: In seconds of the broker's clock.
        """
        body = self._random_bytes(_NONCE_BYTES) + int(deadline * 1e6).to_bytes(_DEADLINE_BYTES)
        return self._owner + urlsafe_b64encode(body + self._mac(body)).decode()

    def deadline(self, token: str) -> float | None:
        """Tell a token's deadline; None if it is none of ours."""
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
        # The decoder passes over what is no Base64; such a text was never given out.
        if urlsafe_b64encode(decoded).decode() != encoded:
            return None
        return int.from_bytes(body[_NONCE_BYTES:]) / 1e6

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=self._key).digest()


def owner_of(token: str) -> str:
    """Tell which gateway gave a token out, if any did: empty where there is but one."""
    return token[:-_CHARACTERS]
