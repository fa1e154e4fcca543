"""TLS contexts, mutual or server-only (D1 API: mutual TLS, version 1.2 or 1.3)."""

import ssl
from pathlib import Path

from sandbox.common.pki import Identity

__all__ = ["browser_context", "client_context", "server_context"]


def server_context(identity: Identity, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return the context of a server with this identity; with ``client_ca``, clients must have its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def client_context(identity: Identity, server_ca: Path) -> ssl.SSLContext:
    """Return the context of a client with this identity, which verifies the server's certificate and name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(server_ca)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def browser_context(server_ca: Path) -> ssl.SSLContext:
    """Return the context of a client without a certificate, which verifies the server's certificate and name."""
    return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(server_ca))
