"""TLS contexts: with certificates on both sides (D1 API: mutual TLS, version 1.2 or 1.3) or the server's only."""

import ssl
from pathlib import Path

from sandbox.common.pki import Identity

__all__ = ["browser_context", "client_context", "server_context"]


def server_context(identity: Identity, client_ca: Path | None = None) -> ssl.SSLContext:
    """Serve as ``identity``: to anybody, or only to clients whose certificate that authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def client_context(identity: Identity, server_ca: Path) -> ssl.SSLContext:
    """Call as ``identity``, only servers whose certificate that authority signed for the name called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(server_ca)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def browser_context(server_ca: Path) -> ssl.SSLContext:
    """Call as nobody in particular, only servers whose certificate that authority signed for the name called."""
    return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(server_ca))
