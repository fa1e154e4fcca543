"""The client of a command, and what becomes of its errors. Needs d1-gateway-client."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode

from d1_gateway_client import GatewayClient, GatewayError, Options, Outcome
from d1_gateway_client.contracts.issuer.notification.v1 import WatchNotificationsRequest
from d1_gateway_client.errors import CursorExpiredError
from gateway.cli.connection import Connection
from gateway.cli.telling import refused

__all__ = ["as_the_client_has_it", "failure", "opened"]


@contextmanager
def opened(connection: Connection) -> Iterator[GatewayClient]:
    """Have a client for as long as the context lasts.

    Raises:
        typer.Exit: The options cannot be used, or a file of theirs cannot be read.
    """
    try:
        options = Options.from_environment(connection.environment())
    except ValueError as error:
        raise refused(f"connection: {error}") from None
    if options.token is not None or options.token_file is not None:
        options = replace(options, token=partial(_token, options), token_file=None)
    try:
        with GatewayClient(options) as client:
            _check_files(options)
            yield client
    except OSError as error:
        raise refused(f"{error.filename}: {error.strerror}") from None


def failure(error: GatewayError, client: GatewayClient) -> str:
    """Say why a call failed; where there was no connection, also why not."""
    if isinstance(error, CursorExpiredError) and error.earliest_cursor:
        return f"{error}; the earliest cursor is {error.earliest_cursor}"
    if error.code is StatusCode.UNAVAILABLE and error.outcome is Outcome.NOT_SENT and not error.reason_name:
        return f"{error} {_why_not_connected(client)}"
    return str(error)


def _why_not_connected(client: GatewayClient) -> str:
    # Calls wait for a connection until their time is up; a stream fails at once, and says why.
    try:
        next(iter(client.notifications.watch_notifications(WatchNotificationsRequest())))
    except GatewayError as error:
        if error.code is StatusCode.UNAVAILABLE:
            return error.message
    return "There is one now."


def as_the_client_has_it(message: Message) -> Any:
    """Make the client's own message of one of the contracts' stubs."""
    contracts = import_module(f"d1_gateway_client.contracts.{message.DESCRIPTOR.file.package}")
    return getattr(contracts, message.DESCRIPTOR.name).parse(message.SerializeToString())


def _token(options: Options) -> str:
    # gRPC would quote the token that it cannot send.
    try:
        token = options.bearer_token() or ""
    except UnicodeError:
        token = ""
    if not (token and token.isascii() and token.isprintable()):
        raise refused("connection: what should be the token is empty, or no text that can be sent")
    return token


def _check_files(options: Options) -> None:
    # gRPC would not say what is wrong with them.
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except ssl.SSLError:
        raise refused(f"{options.ca_file}: holds no certificate, PEM") from None
    if options.certificate_file is None:
        return
    try:
        context.load_cert_chain(options.certificate_file, options.key_file, password=b"")
    except ssl.SSLError:
        files = f"{options.certificate_file}, {options.key_file}"
        raise refused(f"{files}: no certificate with its own private key, PEM, unencrypted") from None
