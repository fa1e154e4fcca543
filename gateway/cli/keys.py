"""``d1-gateway keys``: makes and shows what an issuer needs at onboarding with D1."""

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

from gateway.cli.output import FAILED, refused
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

app = typer.Typer(help="The keys and the certificate request for onboarding with D1.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(help="Where the files go; it has to be there.")]
Name = Annotated[str, typer.Option(help="What the names of the files begin with.")]
Kid = Annotated[str | None, typer.Option(help="The id of the key; its thumbprint (RFC 7638) if not given.")]
Ask = Annotated[bool, typer.Option("--passphrase", help="Encrypt the private key, as PEM; asks for a passphrase.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="Encrypt the private key, as PEM, with the passphrase in this file.")
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
    """Make the key that signs our assertions to D1 (ES256)."""
    with _told_in_one_line():
        _make_pair(SIGNING, folder, name, kid, _Encryption(passphrase, passphrase_file))
    _tell("settings", "[[issuers.<issuer id>.assertion_keys]]: file and kid")


@app.command()
def encryption(
    *,
    folder: Folder = Path(),
    name: Name = "encryption",
    kid: Kid = None,
    passphrase: Ask = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the key with whose public half D1 encrypts card data for us (ECDH-ES)."""
    with _told_in_one_line():
        _make_pair(ENCRYPTION, folder, name, kid, _Encryption(passphrase, passphrase_file))


@app.command()
def csr(
    *,
    common_name: Annotated[
        str, typer.Option(help="As Thales gave it: TLSMA-RSA/... for RSA, and in it the environment, PPR or PRD.")
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
    """Make the key of our client certificate, and the request that Thales signs."""
    with _told_in_one_line():
        wanted = _Encryption(passphrase, passphrase_file)
        environment = key_generation.environment_of(common_name, algorithm)
        subject = Subject(common_name, country, state, locality, organization, organization_unit)
        key_file, request_file = _free(folder, name, "-key.pem", ".csr")
        opened_by = wanted.passphrase()
        key = key_generation.make_client_key(algorithm)
        request = key_generation.signing_request(key, subject)
        key_generation.write_new(
            NewFile(key_file, key_generation.pem(key, opened_by), private=True),
            NewFile(request_file, request.public_bytes(Encoding.PEM), private=False),
        )
    _tell("private key", f"{key_file} (keep it; nobody else needs it)")
    _tell("request", request_file)
    _tell("subject", request.subject.rfc4514_string())
    _tell("environment", f"{environment} ({environment.name.lower()})")
    _tell("hand to Thales", f"{request_file}; they send back the certificate")
    _tell("settings", "d1.tls_key_file, and d1.tls_certificate_file for the certificate")


@app.command("token-signing")
def token_signing(
    *,
    folder: Folder = Path(),
    name: Name = "edge-token",
    passphrase: Ask = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the key that signs the tokens we give to D1 (ES256); nobody else needs any of it."""
    with _told_in_one_line():
        wanted = _Encryption(passphrase, passphrase_file)
        (file,) = _free(folder, name, wanted.suffix)
        key = key_generation.make_key(SIGNING)
        key_generation.write_new(NewFile(file, key_generation.private_form(key, wanted.passphrase()), private=True))
    _tell("kid", key.kid)
    _tell("private key", f"{file} (keep it; nobody else needs it)")
    _tell("hand to Thales", "nothing")
    _tell("settings", "edge.oauth.signing_key_file")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A private key on P-256: JWK or PEM.")],
    *,
    kid: Kid = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Holds the passphrase of the key; asked for if not given.")
    ] = None,
) -> None:
    """Print the public half of a private key as JWK, and its kid."""
    with _told_in_one_line():
        opened_by = None
        if passphrase_file is not None:
            opened_by = keys.read_passphrase("--passphrase-file", passphrase_file)
        elif keys.is_encrypted(file.read_bytes()):
            opened_by = ask("passphrase")
        key = keys.load("keys show", file, kid=kid, private=True, passphrase=opened_by)
    _tell("kid", key.kid or key.thumbprint())
    _tell("public JWK", key_generation.public_jwk(key).decode())


@app.command("hash-secret")
def hash_secret() -> None:
    """Print the SHA-256 of D1's client secret, for edge.oauth.client_secret_sha256.

    Asks for the secret, twice, or reads it from standard input where that is no terminal.
    """
    with _told_in_one_line():
        if sys.stdin.isatty():
            secret = ask_twice("client secret")
        else:
            secret = keys.only_line("standard input", sys.stdin.buffer.read())
    typer.echo(hashlib.sha256(secret).hexdigest())


@dataclass(frozen=True, slots=True)
class _Encryption:
    """Whether a private key is to be encrypted, and where its passphrase comes from."""

    asks: bool
    file: Path | None

    def __post_init__(self) -> None:
        if self.asks and self.file is not None:
            raise typer.BadParameter("--passphrase and --passphrase-file exclude each other")

    @property
    def suffix(self) -> str:
        """How the file of a key on P-256 ends: a JWK file cannot be encrypted."""
        return ".pem" if self.asks or self.file is not None else ".jwk.json"

    def passphrase(self) -> bytes | None:
        """Get the passphrase; None if the key stays unencrypted."""
        if self.file is not None:
            return keys.read_passphrase("--passphrase-file", self.file)
        return ask_twice("passphrase") if self.asks else None


def _make_pair(purpose: Purpose, folder: Path, name: str, kid: str | None, wanted: _Encryption) -> None:
    private_file, public_file = _free(folder, name, wanted.suffix, "-public.jwk.json")
    key = key_generation.make_key(purpose, kid)
    public = key_generation.public_jwk(key)
    key_generation.write_new(
        NewFile(private_file, key_generation.private_form(key, wanted.passphrase()), private=True),
        NewFile(public_file, public, private=False),
    )
    _tell("kid", key.kid)
    _tell("public JWK", public.decode())
    _tell("private key", f"{private_file} (keep it; nobody else needs it)")
    _tell("public key", public_file)
    _tell("hand to Thales", f"{public_file}, and say its kid")


def _free(folder: Path, name: str, *suffixes: str) -> list[Path]:
    """Name the files to be written; refuse before anybody types a passphrase for nothing."""
    if not name or Path(name).name != name:
        raise KeyGenerationError(f"{name!r} is no name of a file; --folder says where it goes")
    if not folder.is_dir():
        raise KeyGenerationError(f"there is no folder {folder}")
    files = [folder / f"{name}{suffix}" for suffix in suffixes]
    for file in files:
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
    return files


def _tell(what: str, value: object) -> None:
    typer.echo(f"{what}: {value}")


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise refused(FAILED, f"{error.filename} is there already; no file is overwritten") from error
    except OSError as error:
        raise refused(FAILED, f"{error.filename or 'writing'}: {error.strerror}") from error
    except (KeyGenerationError, SettingsError) as error:
        raise refused(FAILED, str(error)) from error


def ask(what: str) -> bytes:
    """Ask for a secret.

    Args:
        what: Its name, such as ``passphrase``.

    Raises:
        KeyGenerationError: There is no terminal to ask on, or nothing was typed.
    """
    return _typed(what, what.capitalize())


def ask_twice(what: str) -> bytes:
    """Ask for a new secret, and for the same again.

    Args:
        what: Its name, such as ``passphrase``.

    Raises:
        KeyGenerationError: There is no terminal to ask on, nothing was typed, or not the same.
    """
    first = _typed(what, what.capitalize())
    if _typed(what, f"The same {what} again") != first:
        raise KeyGenerationError(f"the {what} was not the same both times")
    return first


def _typed(what: str, prompt: str) -> bytes:
    try:
        with warnings.catch_warnings():
            # It warns before it would read with the echo on.
            warnings.simplefilter("error", getpass.GetPassWarning)
            typed = getpass.getpass(f"{prompt}: ").encode()
    except getpass.GetPassWarning as error:
        raise KeyGenerationError(f"there is no terminal to ask for the {what} on") from error
    except EOFError:
        typed = b""
    except UnicodeError as error:
        raise KeyGenerationError(f"the {what} is no UTF-8 text") from error
    if not typed:
        raise KeyGenerationError(f"the {what} is empty")
    return typed
