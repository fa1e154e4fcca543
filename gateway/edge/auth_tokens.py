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

__all__ = ["Client", "Token", "Tokens"]

_ALGORITHMS = ["ES256"]
_ISSUER = "d1-gateway"
_AUDIENCE = "d1-gateway-edge"
_TYPE = "at+jwt"
_MAX_VERIFIED = 256
_MAX_TOKEN_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Client:
    """The token endpoint's only client, as agreed with the card platform."""

    client_id: str
    secret_sha256: str = field(repr=False)
    """SHA-256 of the client secret, lower-case hexadecimal."""
    scope: str
    """Agreed scope: names separated by spaces; empty if none was agreed."""

    def matches(self, client_id: str, secret: str) -> bool:
        """Check credentials in constant time."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        same_id = hmac.compare_digest(client_id.encode(), self.client_id.encode())
        return hmac.compare_digest(digest, self.secret_sha256) and same_id


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
        client: Client,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Initialise with the private P-256 key that signs, and the public ones of other instances.

        Tokens of `other_keys` are accepted too, for the time of a rotation.
        """
        self.client = client
        self._key = key
        self._keys = {each.thumbprint(): each for each in (key, *other_keys)}
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._header = {"alg": "ES256", "typ": _TYPE, "kid": key.thumbprint()}
        # The platform sends one token for a quarter of an hour: its signature is checked once, its expiry every time.
        self._verified: dict[bytes, float] = {}

    def issue(self) -> Token:
        """Issue a token to the client."""
        now = self._clock()
        expires_at = int(now) + self._lifetime_seconds
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": self.client.client_id,
            "scope": self.client.scope,
            "iat": int(now),
            "exp": expires_at,
            "jti": uuid4().hex,
        }
        value = jwt.encode(self._header, claims, self._key, algorithms=_ALGORITHMS)
        return Token(value, self._lifetime_seconds, expires_at)

    def is_valid(self, token: str) -> bool:
        """Return whether a token is ours, was issued to the client with the agreed scope, and has not expired."""
        if not token.isascii() or len(token) > _MAX_TOKEN_CHARACTERS:
            return False
        digest = hashlib.sha256(token.encode()).digest()
        expires_at = self._verified.get(digest)
        if expires_at is None:
            expires_at = self._verify(token)
            if expires_at is None:
                return False
            if len(self._verified) >= _MAX_VERIFIED:
                self._verified.clear()
            self._verified[digest] = expires_at
        return self._clock() < expires_at

    def _verify(self, token: str) -> float | None:
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            iss={"essential": True, "value": _ISSUER},
            aud={"essential": True, "value": _AUDIENCE},
            sub={"essential": True, "value": self.client.client_id},
            exp={"essential": True},
        )
        try:
            decoded = jwt.decode(token, self._key_of, algorithms=_ALGORITHMS)
            registry.validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError):
            # joserfc does not check the types of some header parameters.
            return None
        scope = decoded.claims.get("scope")
        if decoded.header.get("typ") != _TYPE or not isinstance(scope, str):
            return None
        if not set(self.client.scope.split()) <= set(scope.split()):
            return None
        return float(decoded.claims["exp"])

    def _key_of(self, token: GuestProtocol) -> ECKey:
        return self._keys[token.headers()["kid"]]
