"""How what is kept of a request and its reply is hidden from who has the database and not the key.

A plain hash of a request would let such a one try every PAN; what a reply says of a card is nobody's but its caller's.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["FINGERPRINT_BYTES", "RecordCipher", "UnreadableError"]

FINGERPRINT_BYTES: Final = 32
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class UnreadableError(Exception):
    """What stands in the store was not sealed under this key and for this entry."""


class RecordCipher:
    """Names, fingerprints and seals, each under a key of its own, derived from one (HKDF, RFC 5869)."""

    def __init__(self, key: bytes) -> None:
        """Derive the keys.

        Args:
            key: 32 random bytes.
        """
        self._naming = _derived(key, b"name")
        self._fingerprinting = _derived(key, b"fingerprint")
        self._sealing = _derived(key, b"seal")

    def name(self, parts: Sequence[str]) -> str:
        """Make the name of the entry that some words stand for together."""
        return f"idempotency/{_mac(self._naming, orjson.dumps(parts)).hex()}"

    def fingerprint(self, content: bytes) -> bytes:
        """Make what tells a request from another one, and nothing else about it."""
        return _mac(self._fingerprinting, content)

    def seal(self, name: str, content: bytes) -> bytes:
        """Encrypt what is to stand in an entry (AES-256-GCM), so that it can be read in no other."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(name).encrypt(nonce, content, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Decrypt what stands in an entry.

        Raises:
            UnreadableError: It was not sealed for it, or is damaged.
        """
        try:
            return self._cipher(name).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise UnreadableError from error

    def _cipher(self, name: str) -> AESGCM:
        # Each entry has a key of its own: under one for all, random nonces would come to meet (after 2**32 of them).
        return AESGCM(_mac(self._sealing, name.encode()))


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"d1-gateway idempotency " + purpose).derive(key)


def _mac(key: bytes, content: bytes) -> bytes:
    return blake2b(content, key=key, digest_size=FINGERPRINT_BYTES).digest()
