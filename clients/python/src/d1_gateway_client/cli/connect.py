"""The connection of a command to a gateway: its options, the client, and the client's errors in one line."""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from grpc import StatusCode

from d1_gateway_client import ErrorOutcome, GatewayClient, GatewayError, Options, _private_file
from d1_gateway_client.cli.output import refused
from d1_gateway_client.contracts.issuer.notification.v1 import WatchNotificationsRequest
from d1_gateway_client.errors import CursorExpiredError

__all__ = [
    "Address",
    "CaFile",
    "CertificateFile",
    "Connection",
    "KeyFile",
    "ServerName",
    "TokenFile",
    "checked_options",
    "connected",
    "failure",
]

_PANEL = "Connection (default: the environment, D1_GATEWAY_CLIENT_ADDRESS ...)"

Address: TypeAlias = Annotated[
    str | None, typer.Option(help="The gateway's gRPC listener, host:port.", rich_help_panel=_PANEL)
]
CaFile: TypeAlias = Annotated[Path | None, typer.Option(help="CA bundle (PEM).", rich_help_panel=_PANEL)]
CertificateFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="Client certificate (PEM).", rich_help_panel=_PANEL)
]
KeyFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="Private key of the client certificate (PEM).", rich_help_panel=_PANEL)
]
TokenFile: TypeAlias = Annotated[Path | None, typer.Option(help="File with a bearer token.", rich_help_panel=_PANEL)]
ServerName: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Name in the gateway's certificate, if not the address's host.", rich_help_panel=_PANEL),
]


# In TLS 1.3 a client learns only after its handshake that its certificate was refused, and gRPC does not say so.
_HINTS: Final[Mapping[str, str]] = {
    "Socket closed": "; the gateway ends a connection without a client certificate, or with one of a CA that it does "
    "not trust",
    "ALPN": "; this is not the gateway's gRPC listener",
}
"""What gRPC's text about a connection that was not made often means."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection options of the command line; None where the environment decides."""

    address: str | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None
    server_name: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment that the client reads, overridden by the command line."""
        given = {name.upper(): str(value) for name, value in asdict(self).items() if value is not None}
        environment = {**os.environ, **{f"D1_GATEWAY_CLIENT_{name}": value for name, value in given.items()}}
        if self.token_file is not None:
            environment.pop("D1_GATEWAY_CLIENT_TOKEN", None)
        return environment


@contextmanager
def connected(connection: Connection) -> Iterator[GatewayClient]:
    """Open a client for as long as the context lasts.

    Raises:
        typer.Exit: The options are invalid, or one of their files cannot be read.
    """
    with checked_options(connection) as options, GatewayClient(options) as client:
        yield client


@contextmanager
def checked_options(connection: Connection) -> Iterator[Options]:
    """Make a client's options for as long as the context lasts, in which the client reads the files.

    Raises:
        typer.Exit: The options are invalid, or one of their files cannot be read.
    """
    try:
        options = Options.from_environment(connection.environment())
    except ValueError as error:
        raise refused(f"connection: {error}") from None
    if options.token is not None or options.token_file is not None:
        options = replace(options, token=partial(_token, options), token_file=None)
    try:
        _check_files(options)
        yield options
    except OSError as error:
        raise refused(f"{error.filename}: {error.strerror}") from None


def failure(error: GatewayError, client: GatewayClient) -> str:
    """Return why a call failed; without a connection, also why there is none."""
    if isinstance(error, CursorExpiredError) and error.earliest_cursor:
        return f"{error}; the earliest cursor is {error.earliest_cursor}"
    if error.code is StatusCode.UNAVAILABLE and error.outcome is ErrorOutcome.NOT_SENT and not error.reason:
        return f"{error} {_why_not_connected(client)}"
    return str(error)


def _why_not_connected(client: GatewayClient) -> str:
    # Calls wait for a connection until their deadline; a stream fails at once, and says why.
    try:
        next(iter(client.notifications.watch_notifications(WatchNotificationsRequest())))
    except GatewayError as error:
        if error.code is StatusCode.UNAVAILABLE:
            return error.message + "".join(hint for sign, hint in _HINTS.items() if sign in error.message)
    return "The gateway is reachable now."


def _token(options: Options) -> str:
    # gRPC quotes a token that it cannot send.
    try:
        token = options.bearer_token() or ""
    except UnicodeError:
        token = ""
    if not (token and token.isascii() and token.isprintable()):
        raise refused("connection: the bearer token is empty or not printable ASCII")
    return token


def _check_files(options: Options) -> None:
    # gRPC does not say what is wrong with the files, nor does OpenSSL name one that it cannot read.
    for file in (options.ca_file, options.certificate_file):
        if file is not None:
            file.read_bytes()
    if options.key_file is not None:
        _private_file.read(options.key_file)
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except ssl.SSLError:
        raise refused(f"{options.ca_file}: contains no PEM certificate") from None
    if options.certificate_file is None:
        return
    try:
        context.load_cert_chain(options.certificate_file, options.key_file, password=b"")
    except ssl.SSLError:
        files = f"{options.certificate_file}, {options.key_file}"
        raise refused(f"{files}: expected a PEM certificate and its unencrypted private key") from None
