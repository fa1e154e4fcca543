"""Decryption of card data (D1 API: encryption of sensitive data; RFC 7516, compact serialisation)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol

from sandbox.common.fields import (
    InvalidFormatError,
    InvalidValueError,
    MalformedBodyError,
    json_object,
    optional_text,
    text,
)
from sandbox.d1.model.contract import CVV, EXPIRY, HOLDER_NAME, PAN
from sandbox.d1.model.store import Credentials

__all__ = ["decrypt_card_data", "decrypt_credentials"]

_FIELD = "encryptedData"


def decrypt_card_data(compact: str, keys: Mapping[str, ECKey]) -> Credentials:
    """Decrypt a card's PAN and expiry.

    Args:
        compact: The JWE: ``ECDH-ES`` (direct), ``A256GCM``, an ephemeral P-256 key.
        keys: D1's private keys by ``kid``.

    Raises:
        InvalidFormatError: The JWE, its PAN or its expiry is malformed.
        InvalidValueError: The key is not D1's, or the decryption fails.
    """
    return _numbers(_open(compact, keys))


def decrypt_credentials(compact: str, keys: Mapping[str, ECKey]) -> Credentials:
    """Decrypt the issuer's reply to a request for card data. It also holds a CVV and perhaps a name; both are checked.

    Arguments and errors are those of `decrypt_card_data`.
    """
    card = _open(compact, keys)
    numbers = _numbers(card)
    optional_text(card, "name", HOLDER_NAME)
    text(card, "cvv", CVV)
    return numbers


def _open(compact: str, keys: Mapping[str, ECKey]) -> dict[str, Any]:
    try:
        opened = jwe.decrypt_compact(compact, partial(_key, keys), algorithms=["ECDH-ES", "A256GCM"])
        return json_object(opened.plaintext or b"")
    except (JoseError, ValueError, MalformedBodyError):
        raise InvalidValueError(_FIELD) from None


def _numbers(card: Mapping[str, Any]) -> Credentials:
    return Credentials(pan=text(card, "pan", PAN), expiry=text(card, "exp", EXPIRY))


def _key(keys: Mapping[str, ECKey], recipient: GuestProtocol) -> ECKey:
    header = recipient.headers()
    ephemeral = header.get("epk")
    if (header.get("alg"), header.get("enc")) != ("ECDH-ES", "A256GCM"):
        raise InvalidFormatError(_FIELD)
    if not isinstance(ephemeral, dict) or ephemeral.get("crv") != "P-256":
        raise InvalidFormatError(_FIELD)
    try:
        return keys[header["kid"]]
    except (KeyError, TypeError):
        raise InvalidValueError(_FIELD) from None
