"""Card data encrypted for D1."""

import orjson
from joserfc import jwe
from joserfc.jwk import ECKey

from issuer.common.v1 import card_data_pb2

__all__ = ["encrypt_credentials", "mmyy"]

_ALGORITHM = "ECDH-ES"
_ENCRYPTION = "A256GCM"


def encrypt_credentials(credentials: card_data_pb2.CardCredentials, recipient: ECKey) -> str:
    """Encrypt a card's credentials as a compact JWE (RFC 7516; RFC 7518 section 4.6; D1 API: encrypt sensitive data).

    Args:
        credentials: The PAN and the expiry.
        recipient: D1's public key on P-256, with its ``kid`` (see `adapters.d1.keys.IssuerKeys`).
    """
    plaintext = orjson.dumps({"pan": credentials.pan, "exp": mmyy(credentials.expiry)})
    header = {"alg": _ALGORITHM, "enc": _ENCRYPTION, "kid": recipient.kid}
    return jwe.encrypt_compact(header, plaintext, recipient, algorithms=[_ALGORITHM, _ENCRYPTION])


def mmyy(expiry: card_data_pb2.CardExpiry) -> str:
    """Write an expiry as D1 reads it: month, then year without its century."""
    return f"{expiry.month:02}{expiry.year % 100:02}"
