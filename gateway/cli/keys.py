"""``d1-gateway keys``: generates and shows the keys that D1's onboarding requires."""

import errno
import getpass
import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli.output import FAILED, UNUSABLE, failed, say
from gateway.settings import SettingsError
from gateway.tls import key_generation, keys
from gateway.tls.key_generation import (
    ENCRYPTION,
    SIGNING,
    ClientAlgorithm,
    KeyGenerationError,
    NewFile,
    Purpose,
    Subject,
)

__all__ = ["app", "ask", "ask_twice"]

app = typer.Typer(help="Manage the keys and the signing request for D1's onboarding.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(help="Existing folder for the files.")]
Name = Annotated[str, typer.Option(help="Prefix of the file names.")]
Kid = Annotated[str | None, typer.Option(help="Key id; the key's thumbprint (RFC 7638) if omitted.")]
Ask = Annotated[bool, typer.Option("--passphrase", help="Encrypt the private key as PEM; prompts for a passphrase.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="Encrypt the private key as PEM, with the passphrase in this file.")
]


@app.command()
def assertion(
    *,
    folder: Folder = Path(),
    name: Name = "assertion",
    kid: Kid = None,
    passphrase: Ask = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Generate the key that signs assertions to D1 (ES256)."""
    with _failures_in_one_line():
        _make_pair(SIGNING, folder, name, kid, _Encryption(passphrase, passphrase_file))
    _print(
        "settings",
        "[[issuers.<issuer id>.assertion_keys]] or [[aggregators.<aggregator id>.assertion_keys]]: file and kid",
    )


@app.command()
def encryption(
    *,
    folder: Folder = Path(),
    name: Name = "encryption",
    kid: Kid = None,
    passphrase: Ask = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Generate the key for card data from D1, which encrypts with the public half (ECDH-ES)."""
    with _failures_in_one_line():
        _make_pair(ENCRYPTION, folder, name, kid, _Encryption(passphrase, passphrase_file))


@app.command()
def csr(
    *,
    common_name: Annotated[
        str, typer.Option(help="From Thales: TLSMA-RSA/... for RSA; contains the environment, PPR or PRD.")
    ],
    algorithm: Annotated[ClientAlgorithm, typer.Option(help="RSA 4096 or ECDSA P-256.")] = ClientAlgorithm.RSA,
    country: Annotated[str | None, typer.Option(help="C: two capital letters.")] = None,
    state: Annotated[str | None, typer.Option(help="ST: state or region.")] = None,
    locality: Annotated[str | None, typer.Option(help="L: city.")] = None,
    organization: Annotated[str | None, typer.Option(help="O: the issuer.")] = None,
    organization_unit: Annotated[str | None, typer.Option(help="OU: the issuer's unit.")] = None,
    folder: Folder = Path(),
    name: Name = "d1-client",
    passphrase: Ask = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Generate the key of the client certificate, and the signing request for Thales."""
    with _failures_in_one_line():
        encrypted = _Encryption(passphrase, passphrase_file)
        environment = key_generation.environment_of(common_name, algorithm)
        subject = Subject(common_name, country, state, locality, organization, organization_unit)
        key_file, request_file = _new_files(folder, name, "-key.pem", ".csr")
        key_passphrase = encrypted.passphrase()
        key = key_generation.make_client_key(algorithm)
        request = key_generation.signing_request(key, subject)
        key_generation.write_new(
            NewFile(key_file, key_generation.pem(key, key_passphrase), private=True),
            NewFile(request_file, request.public_bytes(Encoding.PEM), private=False),
        )
    _print("private key", f"{key_file} (keep it secret)")
    _print("request", request_file)
    _print("subject", request.subject.rfc4514_string())
    _print("environment", f"{environment} ({environment.name.lower()})")
    _print("hand to Thales", f"{request_file}; they return the certificate")
    _print("settings", "tls_key_file, and tls_certificate_file for the certificate, of [d1] or [issuers.<issuer id>]")


@app.command("token-signing")
def token_signing(
    *,
    folder: Folder = Path(),
    name: Name = "edge-token",
    passphrase: Ask = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Generate the key that signs tokens issued to D1 (ES256). It stays with the gateway."""
    with _failures_in_one_line():
        encrypted = _Encryption(passphrase, passphrase_file)
        (file,) = _new_files(folder, name, encrypted.suffix)
        key = key_generation.make_key(SIGNING)
        key_generation.write_new(NewFile(file, key_generation.private_form(key, encrypted.passphrase()), private=True))
    _print("kid", key.kid)
    _print("private key", f"{file} (keep it secret)")
    _print("hand to Thales", "nothing")
    _print("settings", "edge.oauth.signing_key_file")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Private key on P-256: JWK or PEM.")],
    *,
    kid: Kid = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the key's passphrase; prompted for if omitted.")
    ] = None,
) -> None:
    """Print the public half of a private key as JWK, and its kid."""
    with _failures_in_one_line():
        key_passphrase = None
        if passphrase_file is not None:
            key_passphrase = keys.read_passphrase("--passphrase-file", passphrase_file)
        elif keys.is_encrypted(file.read_bytes()):
            key_passphrase = ask("passphrase")
        key = keys.load("keys show", file, kid=kid, private=True, passphrase=key_passphrase)
    _print("kid", key.kid or key.thumbprint())
    _print("public JWK", key_generation.public_jwk(key).decode())


@app.command("hash-secret")
def hash_secret() -> None:
    """Print the SHA-256 of D1's client secret, for edge.oauth.client_secret_sha256.

    Prompts for the secret twice, or reads it from standard input if that is not a terminal.
    """
    with _failures_in_one_line():
        if sys.stdin.isatty():
            secret = ask_twice("client secret")
        else:
            secret = keys.only_line("standard input", sys.stdin.buffer.read())
    typer.echo(hashlib.sha256(secret).hexdigest())


@dataclass(frozen=True, slots=True)
class _Encryption:
    """Whether to encrypt a private key, and where its passphrase comes from."""

    asks: bool
    file: Path | None

    def __post_init__(self) -> None:
        if self.asks and self.file is not None:
            raise typer.BadParameter("--passphrase and --passphrase-file exclude each other")

    @property
    def suffix(self) -> str:
        """File name suffix of a key on P-256: PEM if encrypted, because a JWK file cannot be."""
        return ".pem" if self.asks or self.file is not None else ".jwk.json"

    def passphrase(self) -> bytes | None:
        """Return the passphrase; None to leave the key unencrypted."""
        if self.file is not None:
            return keys.read_passphrase("--passphrase-file", self.file)
        return ask_twice("passphrase") if self.asks else None


def _make_pair(purpose: Purpose, folder: Path, name: str, kid: str | None, encrypted: _Encryption) -> None:
    private_file, public_file = _new_files(folder, name, encrypted.suffix, "-public.jwk.json")
    key = key_generation.make_key(purpose, kid)
    public = key_generation.public_jwk(key)
    key_generation.write_new(
        NewFile(private_file, key_generation.private_form(key, encrypted.passphrase()), private=True),
        NewFile(public_file, public, private=False),
    )
    _print("kid", key.kid)
    _print("public JWK", public.decode())
    _print("private key", f"{private_file} (keep it secret)")
    _print("public key", public_file)
    _print("hand to Thales", f"{public_file}, with its kid")


def _new_files(folder: Path, name: str, *suffixes: str) -> list[Path]:
    """Name the files to write. Fails before anybody types a passphrase in vain."""
    if not name or Path(name).name != name:
        raise KeyGenerationError(f"{name!r} is not a file name; use --folder for the folder")
    if not folder.is_dir():
        raise KeyGenerationError(f"the folder {folder} does not exist")
    files = [folder / f"{name}{suffix}" for suffix in suffixes]
    for file in files:
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
    return files


def _print(what: str, value: object) -> None:
    # A kid comes from the file, which somebody else may have made.
    say(f"{what}: {value}")


@contextmanager
def _failures_in_one_line() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise failed(UNUSABLE, f"{error.filename} exists already; no file is overwritten") from error
    except OSError as error:
        raise failed(FAILED, f"{error.filename or 'writing'}: {error.strerror}") from error
    except (KeyGenerationError, SettingsError) as error:
        raise failed(FAILED, str(error)) from error


def ask(what: str) -> bytes:
    """Prompt for a secret by its name, such as ``passphrase``.

    Raises:
        KeyGenerationError: There is no terminal, or nothing was typed.
    """
    return _typed(what, what.capitalize())


def ask_twice(what: str) -> bytes:
    """Prompt twice for a new secret by its name.

    Raises:
        KeyGenerationError: There is no terminal, nothing was typed, or the inputs differ.
    """
    first = _typed(what, what.capitalize())
    if _typed(what, f"Repeat the {what}") != first:
        raise KeyGenerationError(f"the {what} was not the same both times")
    return first


def _typed(what: str, prompt: str) -> bytes:
    try:
        with warnings.catch_warnings():
            # getpass warns before it reads with the echo on.
            warnings.simplefilter("error", getpass.GetPassWarning)
            typed = getpass.getpass(f"{prompt}: ").encode()
    except getpass.GetPassWarning as error:
        raise KeyGenerationError(f"there is no terminal to prompt for the {what}") from error
    except EOFError:
        typed = b""
    except UnicodeError as error:
        raise KeyGenerationError(f"the {what} is not UTF-8 text") from error
    if not typed:
        raise KeyGenerationError(f"the {what} is empty")
    return typed
