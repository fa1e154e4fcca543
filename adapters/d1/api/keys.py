"""The keys that an issuer and D1 exchanged."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from joserfc.jwk import ECKey

__all__ = ["EncryptionKey", "IssuerKeys", "check_assertion_keys"]


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A public key of D1 (ECDH-ES)."""

    key: ECKey
    active_from: float = -math.inf
    """Start of its use, in seconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True, repr=False)
class IssuerKeys:
    """The keys of one issuer, two of a kind during a replacement. The repr shows key ids only.

    Raises:
        ValueError: A key is not on P-256, has no ``kid``, is for another use or is the wrong half; or no key is active.
    """

    assertion_keys: Sequence[ECKey]
    """The private signing keys (ES256) of the issuer or its aggregator, in the order in which they are tried. D1 holds
    the public half of at least one."""
    d1_encryption_keys: Sequence[EncryptionKey]
    """D1's public keys for card data, in any order."""
    clock: Callable[[], float] = time.time
    """Time in seconds since 1970 (UTC)."""
    aggregator_id: str = ""
    """The aggregator whose token serves the issuer; all its issuers have the same assertion keys. Empty if the issuer
    has a token of its own."""

    def __post_init__(self) -> None:
        """Reject at start-up what would fail during a call."""
        check_assertion_keys(self.assertion_keys)
        for each in self.d1_encryption_keys:
            _check("d1_encryption_keys", each.key, use="enc")
            if each.key.is_private:
                raise ValueError("d1_encryption_keys: expected D1's public keys, without a private half.")
        if not self.assertion_keys or not self.d1_encryption_keys:
            raise ValueError("Each kind needs at least one key.")
        first = min(each.active_from for each in self.d1_encryption_keys)
        if first > self.clock():
            text = datetime.fromtimestamp(first, UTC).isoformat()
            raise ValueError(f"d1_encryption_keys: no key is active before {text}.")

    @property
    def d1_encryption_key(self) -> ECKey:
        """The key to encrypt card data with: the latest that is active."""
        now = self.clock()
        oldest, *later = sorted(self.d1_encryption_keys, key=lambda each: each.active_from)
        # The oldest stays in use even if the clock is set back.
        return [oldest, *(each for each in later if each.active_from <= now)][-1].key

    def __repr__(self) -> str:
        assertion = ", ".join(f"<kid {key.kid!r}>" for key in self.assertion_keys)
        encryption = ", ".join(f"<kid {each.key.kid!r}>" for each in self.d1_encryption_keys)
        return f"IssuerKeys(assertion_keys=[{assertion}], d1_encryption_keys=[{encryption}])"


def check_assertion_keys(keys: Sequence[ECKey]) -> None:
    """Reject keys that cannot sign assertions.

    Raises:
        ValueError: As for `IssuerKeys`.
    """
    for key in keys:
        _check("assertion_keys", key, use="sig")
        if not key.is_private:
            raise ValueError("assertion_keys: expected private keys.")


def _check(name: str, key: ECKey, *, use: str) -> None:
    if key.curve_name != "P-256":
        raise ValueError(f"{name}: expected keys on the curve P-256, not on {key.curve_name}.")
    if not key.kid:
        raise ValueError(f"{name}: a key has no kid.")
    if key.get("use", use) != use:
        raise ValueError(f"{name}: {key.kid!r} is not for the use {use!r}.")
