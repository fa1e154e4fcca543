"""Assembles the edge's client authentication from the settings."""

from gateway.edge.auth_client_certificate import Clients, Proxy
from gateway.edge.auth_forwarded_certificate import ForwardedCertificates
from gateway.edge.auth_tokens import Client, OAuthClients, Tokens
from gateway.settings import EdgeOAuthSettings, EdgeSettings
from gateway.tls import keys
from gateway.tls.certificates import Certificates

__all__ = ["clients", "tokens"]


def clients(settings: EdgeSettings, certificates: Certificates) -> Clients:
    """Return the check of client certificates; its CA file is reloaded when it changes.

    Raises:
        SettingsError: The CA file cannot be used.
    """
    if settings.proxy is None:
        return Clients(settings.tls_client_subjects)
    forwarded = ForwardedCertificates(settings.tls_client_ca_file)
    certificates.file_watcher.add([settings.tls_client_ca_file], forwarded.renew)
    return Clients(settings.tls_client_subjects, Proxy(settings.proxy.networks, forwarded))


def tokens(settings: EdgeOAuthSettings) -> Tokens:
    """Return the issuer and verifier of bearer tokens.

    Raises:
        SettingsError: A key cannot be used.
    """
    passphrase = keys.read_passphrase("edge.oauth.signing_key_passphrase_file", settings.signing_key_passphrase_file)
    signing_key = keys.load(
        "edge.oauth.signing_key_file", settings.signing_key_file, private=True, passphrase=passphrase
    )
    return Tokens(
        signing_key,
        other_keys=[
            keys.load("edge.oauth.verification_key_files", file, private=False)
            for file in settings.verification_key_files
        ],
        clients=_token_clients(settings),
        lifetime_seconds=settings.token_lifetime_seconds,
    )


def _token_clients(settings: EdgeOAuthSettings) -> OAuthClients:
    clients = [
        Client(own.client_id, own.client_secret_sha256.get_secret_value(), own.scope, issuer_id)
        for issuer_id, own in settings.clients.items()
    ]
    if settings.client_id is not None and settings.client_secret_sha256 is not None:
        clients.append(Client(settings.client_id, settings.client_secret_sha256.get_secret_value(), settings.scope))
    return OAuthClients(*clients)
