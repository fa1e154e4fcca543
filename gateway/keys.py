"""Reads the P-256 keys that the settings name."""

from pathlib import Path

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.settings import SettingsError

__all__ = ["load"]

_CURVE = "P-256"


def load(setting: str, file: Path, *, kid: str | None = None, private: bool) -> ECKey:
    """Read a key.

    Args:
        setting: Where the file is named, for the error.
        file: PEM or JWK (RFC 7517).
        kid: The id under which the other side knows it.
        private: Whether the private half is needed; a public half is made of a private key where it is not.

    Raises:
        SettingsError: It is no such key.
    """
    content = file.read_bytes()
    try:
        source = orjson.loads(content) if content.lstrip().startswith(b"{") else content
        key = ECKey.import_key(source, None if kid is None else {"kid": kid})
    except (JoseError, KeyError, ValueError, TypeError) as error:
        # The error's own text could hold part of the key.
        raise SettingsError([f"{setting}: {file} holds no EC key in PEM or JWK"]) from error
    if key.curve_name != _CURVE:
        raise SettingsError([f"{setting}: {file} is on the curve {key.curve_name}, not on {_CURVE}"])
    if private and not key.is_private:
        raise SettingsError([f"{setting}: {file} holds only the public half"])
    if not private and key.is_private:
        raise SettingsError([f"{setting}: {file} holds a private key; only the public half belongs here"])
    return key
