"""TLS contexts, TLS 1.2 or later, from the files in the settings (D1 API: transport, mutual TLS in both directions)."""

import ssl
from pathlib import Path

import grpc

from gateway.settings import (
    D1Settings,
    EdgeSettings,
    GrpcSettings,
    IssuerSettings,
    NatsSettings,
    SettingsError,
    ThreeDSSettings,
    TokenSettings,
)
from gateway.tls import keys

__all__ = ["d1_context", "edge_context", "grpc_configuration", "nats_context", "threeds_context", "tokens_context"]


def edge_context(settings: EdgeSettings) -> ssl.SSLContext:
    """Return the edge's context: every client needs a certificate issued by the configured CA.

    Behind a proxy, which forwards the client's certificate in a header, a connection needs none but a request does
    (see `gateway.edge.auth_client_certificate`).

    Raises:
        SettingsError: A file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _present(context, "edge", settings.tls_certificate_file, settings.tls_key_file, settings.tls_key_passphrase_file)
    _trust(context, "edge.tls_client_ca_file", settings.tls_client_ca_file)
    context.verify_mode = ssl.CERT_REQUIRED if settings.proxy is None else ssl.CERT_OPTIONAL
    return context


def d1_context(settings: D1Settings, table: str, owner: D1Settings | IssuerSettings) -> ssl.SSLContext:
    """Return a context for connections to D1, with server verification and a client certificate.

    Args:
        settings: Settings with D1's CA.
        table: Name of the table that has the client certificate.
        owner: That table.

    Raises:
        SettingsError: A file cannot be used.
        ValueError: The table has no client certificate.
    """
    if owner.tls_certificate_file is None or owner.tls_key_file is None:
        raise ValueError(f"{table} has no client certificate")
    context = _https_trust("d1.tls_ca_file", settings.tls_ca_file)
    _present(context, table, owner.tls_certificate_file, owner.tls_key_file, owner.tls_key_passphrase_file)
    return context


def threeds_context(settings: ThreeDSSettings) -> ssl.SSLContext:
    """Return the context for connections to the 3-D Secure server, with server verification.

    Raises:
        SettingsError: The file cannot be used.
    """
    return _https_trust("threeds.tls_ca_file", settings.tls_ca_file)


def nats_context(settings: NatsSettings) -> ssl.SSLContext:
    """Return the context for connections to NATS, with server verification and, if configured, a client certificate.

    Raises:
        SettingsError: A file cannot be used.
    """
    context = _server_trust("nats.tls_ca_file", settings.tls_ca_file)
    if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
        _present(context, "nats", settings.tls_certificate_file, settings.tls_key_file, None)
    return context


def tokens_context(settings: TokenSettings) -> ssl.SSLContext:
    """Return the context for connections to the JWKS server, with server verification.

    Raises:
        SettingsError: The file cannot be used.
    """
    return _https_trust("access.tokens.jwks_ca_file", settings.jwks_ca_file)


def grpc_configuration(settings: GrpcSettings) -> grpc.ServerCertificateConfiguration:
    """Return the certificate and trusted CAs of the gRPC listener.

    Raises:
        SettingsError: A file cannot be used.
        ValueError: The listener is plaintext.
    """
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        raise ValueError("the listener is plaintext")
    ca_file = settings.tls_client_ca_file
    # grpc reads the files only when it starts to listen, and reports errors outside our log.
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
    """Return a client context that verifies the server, against the system's CAs if no file is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        _trust(context, setting, ca_file)
    return context


def _https_trust(setting: str, ca_file: Path | None) -> ssl.SSLContext:
    """Return a client context for HTTPS, which offers HTTP/1.1 (RFC 7301)."""
    context = _server_trust(setting, ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


# OpenSSL's error texts say what is wrong with a file, and never quote its content.


def _present(
    context: ssl.SSLContext, table: str, certificate_file: Path, key_file: Path, passphrase_file: Path | None
) -> bytes:
    """Load a certificate and its key into a context; return the private key as unencrypted PEM."""
    passphrase = keys.read_passphrase(f"{table}.tls_key_passphrase_file", passphrase_file)
    # OpenSSL does not distinguish a wrong passphrase from a broken file, and ignores one that is not needed.
    key = keys.open_pem(f"{table}.tls_key_file", key_file, passphrase)
    try:
        # Without a passphrase OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(certificate_file, key_file, password=passphrase or b"")
    except (OSError, ValueError) as error:
        text = f"{table}.tls_certificate_file, {table}.tls_key_file: not a certificate and its key ({error})"
        raise SettingsError([text]) from error
    return key


def _trust(context: ssl.SSLContext, setting: str, ca_file: Path) -> None:
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ValueError) as error:
        raise SettingsError([f"{setting}: {ca_file} holds no CA certificate ({error})"]) from error
