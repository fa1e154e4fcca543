"""The edge's own bearer tokens: short-lived JWTs that the card platform fetches and sends with every callback."""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol

__all__ = ["Client", "OAuthClients", "Token", "Tokens"]

_ALGORITHMS = ["ES256"]
_ISSUER = "d1-gateway"
_AUDIENCE = "d1-gateway-edge"
_TYPE = "at+jwt"
_MAX_VERIFIED = 256
_MAX_TOKEN_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the token endpoint, as agreed with the card platform."""

    client_id: str
    secret_sha256: str = field(repr=False)
    """SHA-256 of the client secret, lower-case hexadecimal."""
    scope: str
    """Agreed scope: names separated by spaces; empty if none was agreed."""
    issuer_id: str = ""
    """The issuer whose callbacks alone it makes; empty for the callbacks of all issuers without their own client."""

    def has_secret(self, secret: str) -> bool:
        """Check a secret in constant time."""
        return hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), self.secret_sha256)


class OAuthClients:
    """The token endpoint's clients: one for each issuer that has its own, and one for all others."""

    def __init__(self, *clients: Client) -> None:
        self._clients = clients
        self._by_issuer = {client.issuer_id: client for client in clients}

    def named(self, client_id: str) -> Client | None:
        """Return the client with an id, in a time that does not depend on the id; None if there is none."""
        found = None
        for client in self._clients:
            if hmac.compare_digest(client.client_id.encode(), client_id.encode()):
                found = client
        return found

    def of_issuer(self, issuer_id: str) -> Client | None:
        """Return the client that makes an issuer's callbacks; None if there is none.

        Args:
            issuer_id: The issuer; empty for a callback that is about none.
        """
        return self._by_issuer.get(issuer_id) or self._by_issuer.get("")


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its lifetime."""

    value: str
    lifetime_seconds: int
    expires_at: float
    """Expiry, in seconds since 1970 (UTC)."""

    def __repr__(self) -> str:
        return f"Token(value=***, expires_at={self.expires_at})"


class Tokens:
    """Issues and verifies tokens, signed with ES256 (RFC 7518, section 3.4)."""

    def __init__(
        self,
        key: ECKey,
        *,
        other_keys: Sequence[ECKey] = (),
        clients: OAuthClients,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Initialise with the private P-256 key that signs, and the public ones of other instances.

        Tokens of `other_keys` are accepted too, for the time of a rotation.
        """
        self.clients = clients
        self._key = key
        self._keys = {each.thumbprint(): each for each in (key, *other_keys)}
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._header = {"alg": "ES256", "typ": _TYPE, "kid": key.thumbprint()}
        # The platform sends one token for a quarter of an hour: its signature is checked once, its expiry every time.
        self._verified: dict[bytes, tuple[float, Client]] = {}

    def issue(self, client: Client) -> Token:
        """Issue a token to a client."""
        now = self._clock()
        expires_at = int(now) + self._lifetime_seconds
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": client.client_id,
            "scope": client.scope,
            "iat": int(now),
            "exp": expires_at,
            "jti": uuid4().hex,
        }
        value = jwt.encode(self._header, claims, self._key, algorithms=_ALGORITHMS)
        return Token(value, self._lifetime_seconds, expires_at)

    def client_of(self, token: str) -> Client | None:
        """Return to whom a token was issued; None if it is not ours, lacks the agreed scope or has expired."""
        if not token.isascii() or len(token) > _MAX_TOKEN_CHARACTERS:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        verified = self._verified.get(digest)
        if verified is None:
            verified = self._verify(token)
            if verified is None:
                return None
            if len(self._verified) >= _MAX_VERIFIED:
                self._verified.clear()
            self._verified[digest] = verified
        expires_at, client = verified
        return client if self._clock() < expires_at else None

    def _verify(self, token: str) -> tuple[float, Client] | None:
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            iss={"essential": True, "value": _ISSUER},
            aud={"essential": True, "value": _AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            decoded = jwt.decode(token, self._key_of, algorithms=_ALGORITHMS)
            registry.validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError):
            # joserfc does not check the types of some header parameters.
            return None
        subject, scope = decoded.claims["sub"], decoded.claims.get("scope")
        if decoded.header.get("typ") != _TYPE or not isinstance(subject, str) or not isinstance(scope, str):
            return None
        client = self.clients.named(subject)
        if client is None or not set(client.scope.split()) <= set(scope.split()):
            return None
        return float(decoded.claims["exp"]), client

    def _key_of(self, token: GuestProtocol) -> ECKey:
        return self._keys[token.headers()["kid"]]
