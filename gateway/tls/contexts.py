"""TLS 1.2 and up, from the files that the settings name (D1 API: transport, mutual TLS in both directions)."""

import ssl
from pathlib import Path

import grpc

from gateway.settings import (
    D1Settings,
    EdgeSettings,
    GrpcSettings,
    NatsSettings,
    SettingsError,
    ThreeDSSettings,
    TokenSettings,
)
from gateway.tls import keys

__all__ = ["d1_context", "edge_context", "grpc_configuration", "nats_context", "threeds_context", "tokens_context"]


def edge_context(settings: EdgeSettings) -> ssl.SSLContext:
    """Make the context of the edge: nobody gets in without a certificate of the configured CA.

    Where there is a proxy, which shows D1's certificate in a header, a connection needs none; a request then does (see
    `gateway.edge.auth_client_certificate`).

    Raises:
        SettingsError: A file is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _present(context, "edge", settings.tls_certificate_file, settings.tls_key_file, settings.tls_key_passphrase_file)
    _trust(context, "edge.tls_client_ca_file", settings.tls_client_ca_file)
    context.verify_mode = ssl.CERT_REQUIRED if settings.proxy is None else ssl.CERT_OPTIONAL
    return context


def d1_context(settings: D1Settings) -> ssl.SSLContext:
    """Make the context of the connection to D1: its certificate is checked, ours is presented.

    Raises:
        SettingsError: A file is not what it should be.
    """
    context = _server_trust("d1.tls_ca_file", settings.tls_ca_file)
    _present(context, "d1", settings.tls_certificate_file, settings.tls_key_file, settings.tls_key_passphrase_file)
    return context


def threeds_context(settings: ThreeDSSettings) -> ssl.SSLContext:
    """Make the context of the connection to the 3-D Secure server: its certificate is checked.

    Raises:
        SettingsError: The file is not what it should be.
    """
    return _server_trust("threeds.tls_ca_file", settings.tls_ca_file)


def nats_context(settings: NatsSettings) -> ssl.SSLContext:
    """Make the context of the connection to NATS: its certificate is checked, ours is presented if there is one.

    Raises:
        SettingsError: A file is not what it should be.
    """
    context = _server_trust("nats.tls_ca_file", settings.tls_ca_file)
    if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
        _present(context, "nats", settings.tls_certificate_file, settings.tls_key_file, None)
    return context


def tokens_context(settings: TokenSettings) -> ssl.SSLContext:
    """Make the context of the connection to the server of callers' keys: its certificate is checked.

    Raises:
        SettingsError: The file is not what it should be.
    """
    return _server_trust("access.tokens.jwks_ca_file", settings.jwks_ca_file)


def grpc_configuration(settings: GrpcSettings) -> grpc.ServerCertificateConfiguration:
    """Read what the listener for internal callers presents, and whom it trusts.

    Raises:
        SettingsError: A file is not what it should be.
        ValueError: The listener is plaintext.
    """
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        raise ValueError("the listener is plaintext")
    ca_file = settings.tls_client_ca_file
    # grpc looks into the files only when it listens, and tells what is wrong with them past our logs.
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = _present(
        trial, "grpc", settings.tls_certificate_file, settings.tls_key_file, settings.tls_key_passphrase_file
    )
    if ca_file is not None:
        _trust(trial, "grpc.tls_client_ca_file", ca_file)
    return grpc.ssl_server_certificate_configuration(
        [(key, settings.tls_certificate_file.read_bytes())],
        root_certificates=None if ca_file is None else ca_file.read_bytes(),
    )


def _server_trust(setting: str, ca_file: Path | None) -> ssl.SSLContext:
    """Make the context of a client that checks its server's certificate, by the system's CAs if no file is named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        _trust(context, setting, ca_file)
    return context


# OpenSSL's own texts name what is wrong with a file, never what stands in it.


def _present(
    context: ssl.SSLContext, table: str, certificate_file: Path, key_file: Path, passphrase_file: Path | None
) -> bytes:
    """Let a context present a certificate; returns its private key as unencrypted PEM."""
    passphrase = keys.read_passphrase(f"{table}.tls_key_passphrase_file", passphrase_file)
    # OpenSSL would not tell a wrong passphrase from a broken file, nor mind one that is not needed.
    key = keys.open_pem(f"{table}.tls_key_file", key_file, passphrase)
    try:
        # With none at all OpenSSL asks for one on the terminal, and waits.
        context.load_cert_chain(certificate_file, key_file, password=passphrase or b"")
    except (OSError, ValueError) as error:
        text = f"{table}.tls_certificate_file, {table}.tls_key_file: they are no certificate and its key ({error})"
        raise SettingsError([text]) from error
    return key


def _trust(context: ssl.SSLContext, setting: str, ca_file: Path) -> None:
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ValueError) as error:
        raise SettingsError([f"{setting}: {ca_file} holds no CA certificate ({error})"]) from error
