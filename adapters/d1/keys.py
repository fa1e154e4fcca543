"""The keys that an issuer and D1 gave each other."""

from dataclasses import dataclass

from joserfc.jwk import ECKey

__all__ = ["IssuerKeys"]


@dataclass(frozen=True, slots=True, repr=False)
class IssuerKeys:
    """The keys of one issuer. Its repr shows their ids and nothing else.

    Raises:
        ValueError: A key is not on P-256, has no ``kid``, is meant for another use or is the wrong half.
    """

    assertion_key: ECKey
    """The issuer's private key that signs assertions (ES256); D1 holds its public half."""
    d1_encryption_key: ECKey
    """D1's public key that card data is encrypted for (ECDH-ES)."""

    def __post_init__(self) -> None:
        """Refuse at start-up what would fail in the middle of a call."""
        _check("assertion_key", self.assertion_key, use="sig")
        _check("d1_encryption_key", self.d1_encryption_key, use="enc")
        if not self.assertion_key.is_private:
            raise ValueError("assertion_key has to be the private key.")
        if self.d1_encryption_key.is_private:
            raise ValueError("d1_encryption_key has to be D1's public key; a private one has no place here.")

    def __repr__(self) -> str:
        return (
            f"IssuerKeys(assertion_key=<kid {self.assertion_key.kid!r}>, "
            f"d1_encryption_key=<kid {self.d1_encryption_key.kid!r}>)"
        )


def _check(name: str, key: ECKey, *, use: str) -> None:
    if key.curve_name != "P-256":
        raise ValueError(f"{name} has to be on the curve P-256, not {key.curve_name}.")
    if not key.kid:
        raise ValueError(f"{name} has no kid.")
    if key.get("use", use) != use:
        raise ValueError(f"{name} is not meant for the use {use!r}.")
