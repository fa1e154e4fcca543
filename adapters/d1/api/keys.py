"""The keys that an issuer and D1 gave each other."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from joserfc.jwk import ECKey

__all__ = ["EncryptionKey", "IssuerKeys"]


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A public key of D1's (ECDH-ES)."""

    key: ECKey
    active_from: float = -math.inf
    """From when on it is used, in seconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True, repr=False)
class IssuerKeys:
    """The keys of one issuer; of each kind two while one is replaced. Its repr shows their ids and nothing else.

    Raises:
        ValueError: A key is not on P-256, has no ``kid``, is meant for another use or is the wrong half; or there is
            none for now.
    """

    assertion_keys: Sequence[ECKey]
    """The issuer's private keys that sign assertions (ES256), the one to be tried first in front; D1 holds the public
    half of one at least."""
    d1_encryption_keys: Sequence[EncryptionKey]
    """D1's public keys that card data is encrypted for, in any order."""
    clock: Callable[[], float] = time.time
    """Tells the time, in seconds since 1970 (UTC)."""

    def __post_init__(self) -> None:
        """Refuse at start-up what would fail in the middle of a call."""
        for key in self.assertion_keys:
            _check("assertion_keys", key, use="sig")
            if not key.is_private:
                raise ValueError("assertion_keys: each has to be the private key.")
        for each in self.d1_encryption_keys:
            _check("d1_encryption_keys", each.key, use="enc")
            if each.key.is_private:
                raise ValueError("d1_encryption_keys: each has to be D1's public key; a private one has no place here.")
        if not self.assertion_keys or not self.d1_encryption_keys:
            raise ValueError("Each kind needs a key.")
        first = min(each.active_from for each in self.d1_encryption_keys)
        if first > self.clock():
            text = datetime.fromtimestamp(first, UTC).isoformat()
            raise ValueError(f"d1_encryption_keys: there is none to be used before {text}.")

    @property
    def d1_encryption_key(self) -> ECKey:
        """The key that card data is encrypted for now: of those whose time has come, the latest."""
        now = self.clock()
        oldest, *later = sorted(self.d1_encryption_keys, key=lambda each: each.active_from)
        # The oldest serves even when the clock is put back behind its time.
        return [oldest, *(each for each in later if each.active_from <= now)][-1].key

    def __repr__(self) -> str:
        assertion = ", ".join(f"<kid {key.kid!r}>" for key in self.assertion_keys)
        encryption = ", ".join(f"<kid {each.key.kid!r}>" for each in self.d1_encryption_keys)
        return f"IssuerKeys(assertion_keys=[{assertion}], d1_encryption_keys=[{encryption}])"


def _check(name: str, key: ECKey, *, use: str) -> None:
    if key.curve_name != "P-256":
        raise ValueError(f"{name}: each has to be on the curve P-256, not {key.curve_name}.")
    if not key.kid:
        raise ValueError(f"{name}: one has no kid.")
    if key.get("use", use) != use:
        raise ValueError(f"{name}: {key.kid!r} is not meant for the use {use!r}.")
