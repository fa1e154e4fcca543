"""TLS 1.2 and up, from the files that the settings name (D1 API: transport, mutual TLS in both directions)."""

import ssl

import grpc

from gateway.settings import D1Settings, EdgeSettings, GrpcSettings, SettingsError, ThreeDSSettings

__all__ = ["d1_context", "edge_context", "grpc_credentials", "threeds_context"]


def edge_context(settings: EdgeSettings) -> ssl.SSLContext:
    """Make the context of the edge: nobody gets in without a certificate of the configured CA.

    Raises:
        SettingsError: A file is not what it should be.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file)
        context.load_verify_locations(settings.tls_client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise SettingsError([f"edge.tls_*: {_reason(error)}"]) from error
    return context


def d1_context(settings: D1Settings) -> ssl.SSLContext:
    """Make the context of the connection to D1: its certificate is checked, ours is presented.

    Raises:
        SettingsError: A file is not what it should be.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.tls_ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file)
    except (OSError, ValueError) as error:
        raise SettingsError([f"d1.tls_*: {_reason(error)}"]) from error
    return context


def threeds_context(settings: ThreeDSSettings) -> ssl.SSLContext:
    """Make the context of the connection to the 3-D Secure server: its certificate is checked.

    Raises:
        SettingsError: The file is not what it should be.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.tls_ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    except (OSError, ValueError) as error:
        raise SettingsError([f"threeds.tls_ca_file: it is no CA certificate ({error})"]) from error
    return context


def grpc_credentials(settings: GrpcSettings) -> grpc.ServerCredentials | None:
    """Make the credentials of the listener for internal callers; None if it is plaintext."""
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    pair = (settings.tls_key_file.read_bytes(), settings.tls_certificate_file.read_bytes())
    ca_file = settings.tls_client_ca_file
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=None if ca_file is None else ca_file.read_bytes(),
        require_client_auth=ca_file is not None,
    )


def _reason(error: Exception) -> str:
    # OpenSSL's own texts name what is wrong with a file, never what stands in it.
    return f"these files cannot be used together ({error})"
