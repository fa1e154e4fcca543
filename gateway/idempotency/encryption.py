"""Encryption of idempotency records, so that the database without the key reveals nothing.

Plain hashes of requests would let an attacker try every PAN, and replies describe cards.
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
_ID_BYTES: Final = 8


class UnreadableError(Exception):
    """A stored value was not encrypted with this key for this entry."""


class RecordCipher:
    """Names, fingerprints and encrypts, each with its own key derived from one (HKDF, RFC 5869)."""

    def __init__(self, key: bytes) -> None:
        """Derive the keys from 32 random bytes."""
        self._name_key = _derived(key, b"name")
        self._fingerprint_key = _derived(key, b"fingerprint")
        self._encryption_key = _derived(key, b"seal")
        self.key_id: str = _derived(key, b"id")[:_ID_BYTES].hex()
        """Tells the key from others and reveals nothing else about it: 16 hexadecimal digits."""

    def name(self, parts: Sequence[str]) -> str:
        """Return the name of the entry for some words together."""
        return f"idempotency/{_mac(self._name_key, orjson.dumps(parts)).hex()}"

    def fingerprint(self, content: bytes) -> bytes:
        """Return a value that identifies a request and reveals nothing else about it."""
        return _mac(self._fingerprint_key, content)

    def encrypt(self, name: str, content: bytes) -> bytes:
        """Encrypt the content of an entry (AES-256-GCM). It decrypts for no other entry."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(name).encrypt(nonce, content, name.encode())

    def decrypt(self, name: str, encrypted: bytes) -> bytes:
        """Decrypt the content of an entry.

        Raises:
            UnreadableError: It was not encrypted for this entry, or is damaged.
        """
        try:
            return self._cipher(name).decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise UnreadableError from error

    def _cipher(self, name: str) -> AESGCM:
        # Each entry has its own key, because random nonces under one key would collide (after 2**32 of them).
        return AESGCM(_mac(self._encryption_key, name.encode()))


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"d1-gateway idempotency " + purpose).derive(key)


def _mac(key: bytes, content: bytes) -> bytes:
    return blake2b(content, key=key, digest_size=FINGERPRINT_BYTES).digest()
