"""Loads the keys and passphrases that the settings name."""

from codecs import BOM_UTF8
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.formats.json_input import read_object, without_nulls
from gateway.settings import PrivateFileError, SettingsError, read_private

__all__ = ["is_encrypted", "load", "only_line", "open_pem", "read_passphrase"]

_CURVE = "P-256"


def load(setting: str, file: Path, *, kid: str | None = None, private: bool, passphrase: bytes | None = None) -> ECKey:
    """Load a key on P-256.

    Args:
        setting: Name of the setting, for errors.
        file: PEM or JWK (RFC 7517).
        kid: Id by which the other side knows the key.
        private: Whether the private half is required; if not, it is not allowed.
        passphrase: Passphrase of an encrypted PEM file; None if the file is not encrypted.

    Raises:
        SettingsError: The file holds no such key, or the passphrase is wrong.
    """
    content = file.read_bytes()
    _check_passphrase_is_due(setting, file, content, passphrase)
    try:
        source = without_nulls(read_object(content)) if _is_json(content) else content
        key = ECKey.import_key(source, None if kid is None else {"kid": kid}, passphrase)
    # The errors' own texts are not passed on, because they may hold part of the key.
    except (JoseError, KeyError, TypeError):
        raise SettingsError([f"{setting}: {file} holds no EC key in PEM or JWK"]) from None
    except ValueError:
        problem = "holds no EC key in PEM or JWK" if passphrase is None else "does not open with this passphrase"
        raise SettingsError([f"{setting}: {file} {problem}"]) from None
    if key.curve_name != _CURVE:
        raise SettingsError([f"{setting}: {file} is on the curve {key.curve_name}, not on {_CURVE}"])
    if private and not key.is_private:
        raise SettingsError([f"{setting}: {file} holds only the public half"])
    if not private and key.is_private:
        raise SettingsError([f"{setting}: {file} holds a private key; only the public half belongs here"])
    return key


def open_pem(setting: str, file: Path, passphrase: bytes | None) -> bytes:
    """Load a private key of any type as unencrypted PEM.

    Args:
        setting: Name of the setting, for errors.
        file: PEM file.
        passphrase: Passphrase of the file; None if it is not encrypted.

    Raises:
        SettingsError: The file is not private, it holds no such key, or the passphrase is wrong.
    """
    content = _read_private(setting, file)
    _check_passphrase_is_due(setting, file, content, passphrase)
    if passphrase is None:
        return content
    try:
        key = load_pem_private_key(content, passphrase)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise SettingsError([f"{setting}: {file} does not open with this passphrase"]) from None
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def is_encrypted(content: bytes) -> bool:
    """Return whether a key file's content is encrypted PEM (RFC 7468 section 11, or RFC 1421)."""
    return not _is_json(content) and b"ENCRYPTED" in content


def read_passphrase(setting: str, file: Path | None) -> bytes | None:
    """Read the passphrase of an encrypted key.

    Args:
        setting: Name of the setting, for errors.
        file: File with a single line, with or without line ending; None if the key is not encrypted.

    Raises:
        SettingsError: The file is not private, or it holds no passphrase.
    """
    if file is None:
        return None
    return only_line(f"{setting}: {file}", _read_private(setting, file))


def only_line(place: str, content: bytes) -> bytes:
    """Return a secret without the line ending that editors and ``echo`` append.

    Args:
        place: Where the content comes from, for errors.
        content: The content.

    Raises:
        SettingsError: There is no line, or more than one.
    """
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise SettingsError([f"{place} is empty"])
    if b"\n" in line:
        raise SettingsError([f"{place} holds more than one line"])
    return line


def _read_private(setting: str, file: Path) -> bytes:
    try:
        return read_private(file)
    except PrivateFileError as error:
        raise SettingsError([f"{setting}: {error}"]) from error


def _is_json(content: bytes) -> bool:
    return content.removeprefix(BOM_UTF8).lstrip().startswith(b"{")


def _check_passphrase_is_due(setting: str, file: Path, content: bytes, passphrase: bytes | None) -> None:
    encrypted = is_encrypted(content)
    if encrypted and passphrase is None:
        raise SettingsError([f"{setting}: {file} is encrypted and needs its passphrase"])
    if passphrase is not None and not encrypted:
        raise SettingsError([f"{setting}: {file} is not encrypted, but a passphrase is given for it"])
