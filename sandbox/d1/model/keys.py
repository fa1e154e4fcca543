"""The keys that D1 and the issuer exchanged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson
from joserfc.jwk import ECKey

from sandbox.common.pki import Pki

__all__ = ["D1Keys", "KeyRing", "KidTakenError", "NoSuchKeyError"]


class KidTakenError(Exception):
    """Another key has that kid."""


class NoSuchKeyError(Exception):
    """No key has that kid."""


class KeyRing(Mapping[str, ECKey]):
    """Keys for one purpose, by ``kid``; several during a rotation. Counts the lookups of each."""

    def __init__(self) -> None:
        self._keys: dict[str, ECKey] = {}
        self._lookups: dict[str, int] = {}

    @property
    def lookups(self) -> Mapping[str, int]:
        """How often messages named each key."""
        return self._lookups

    def add(self, key: ECKey) -> None:
        """Add a key.

        Raises:
            KidTakenError: Another key has its kid.
        """
        kid = key.kid or ""
        if kid in self._keys:
            raise KidTakenError
        self._keys[kid], self._lookups[kid] = key, 0

    def remove(self, kid: str) -> None:
        """Remove a key; messages that name it are rejected from now on.

        Raises:
            NoSuchKeyError: No key has that kid.
        """
        if kid not in self._keys:
            raise NoSuchKeyError
        del self._keys[kid], self._lookups[kid]

    def __getitem__(self, kid: str) -> ECKey:
        key = self._keys[kid]
        self._lookups[kid] += 1
        return key

    def __contains__(self, kid: object) -> bool:
        return kid in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True, slots=True)
class D1Keys:
    """D1's keys for verifying assertions and decrypting card data."""

    assertion: KeyRing
    """The issuer's public keys."""
    encryption: KeyRing
    """D1's private keys."""

    @classmethod
    def of(cls, pki: Pki) -> Self:
        """Load the keys of a set."""
        keys = cls(KeyRing(), KeyRing())
        keys.assertion.add(_read(pki.assertion_public_key))
        keys.encryption.add(_read(pki.encryption_key))
        return keys


def _read(path: Path) -> ECKey:
    return ECKey.import_key(orjson.loads(path.read_bytes()))
