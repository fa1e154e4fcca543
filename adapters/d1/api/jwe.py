"""Encrypts card data for D1, as compact JWE (RFC 7516; RFC 7518 section 4.6; D1 API: encrypt sensitive data)."""

from collections.abc import Mapping
from typing import Final

import orjson
from joserfc import jwe
from joserfc.jwk import ECKey

from adapters.d1.api.keys import IssuerKeys
from adapters.d1.assumptions import Assumption
from issuer.callback.v1 import replies_pb2
from issuer.common.v1 import card_data_pb2

__all__ = ["ASSUMPTIONS", "D1CardDataEncryption", "encrypt_credentials", "mmyy"]

ASSUMPTIONS: Final = (
    Assumption(
        what="renewals and replacements take card data as registrations do",
        basis="the plaintext of a registration, which D1 shows",
        if_wrong="D1 answers 400 to them, and the caller gets UPSTREAM_INVALID. Without card data, D1 asks for it.",
    ),
)

_ALGORITHM = "ECDH-ES"
_ENCRYPTION = "A256GCM"


class D1CardDataEncryption:
    """Encrypts a card's details for D1, behind the port `gateway.ports.CardDataEncryption`."""

    def __init__(self, keys: Mapping[str, IssuerKeys]) -> None:
        self._keys = keys

    def encrypt(self, issuer_id: str, details: replies_pb2.CardDetails) -> str:
        """Encrypt a card's details for the reply to D1's callback for a card's credentials."""
        plaintext = _plaintext(details.credentials)
        if details.name:
            plaintext["name"] = details.name
        if details.cvv:
            plaintext["cvv"] = details.cvv
        return _encrypt(plaintext, self._keys[issuer_id].d1_encryption_key)


def encrypt_credentials(credentials: card_data_pb2.CardCredentials, recipient: ECKey) -> str:
    """Encrypt a card's credentials for a call to D1.

    Args:
        credentials: PAN and expiry.
        recipient: D1's public key on P-256, with its ``kid`` (see `adapters.d1.api.keys.IssuerKeys`).

    Returns:
        A compact JWE.
    """
    return _encrypt(_plaintext(credentials), recipient)


def mmyy(expiry: card_data_pb2.CardExpiry) -> str:
    """Format an expiry for D1: month, then year without century."""
    return f"{expiry.month:02}{expiry.year % 100:02}"


def _plaintext(credentials: card_data_pb2.CardCredentials) -> dict[str, str]:
    return {"pan": credentials.pan, "exp": mmyy(credentials.expiry)}


def _encrypt(plaintext: dict[str, str], recipient: ECKey) -> str:
    header = {"alg": _ALGORITHM, "enc": _ENCRYPTION, "kid": recipient.kid}
    return jwe.encrypt_compact(header, orjson.dumps(plaintext), recipient, algorithms=[_ALGORITHM, _ENCRYPTION])
