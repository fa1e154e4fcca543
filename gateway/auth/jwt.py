"""Bearer tokens of callers: JWTs of one issuer (RFC 7519), verified as RFC 8725 and RFC 9068 section 4 advise."""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError, UnsupportedAlgorithmError
from joserfc.jwk import Key

from gateway.auth.errors import InvalidToken
from gateway.auth.jose import from_base64url, json_object
from gateway.auth.jwks import Jwks

__all__ = ["TokenVerifier", "VerifiedToken"]

_MAX_TOKEN_LENGTH = 8192
_MAX_VERIFIED = 1024
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES: Final = frozenset({"jwt", "at+jwt", "jose"})
"""The accepted types, if a token has one. Other types (logout tokens, DPoP proofs) have other uses."""
_THUMBPRINT: Final = "x5t#S256"
_EXPIRED: Final = "The bearer token has expired: get a new one."


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The claims of a valid token."""

    subject: str
    """The ``sub`` claim."""
    expires_at: float
    """The ``exp`` claim, in seconds since 1970 (UTC)."""
    certificate_thumbprint: str | None
    """The certificate that the token is bound to (RFC 8705 section 3.1); None if it is not bound."""


class TokenVerifier:
    """Verifies tokens. Keys and algorithms come from the key set, never from the token."""

    def __init__(
        self,
        keys: Jwks,
        *,
        issuer: str,
        audience: str,
        leeway_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the checks.

        Args:
            keys: The token issuer's keys, and the accepted algorithms.
            issuer: The required ``iss``.
            audience: The required ``aud``, or a member of it.
            leeway_seconds: The tolerated clock difference to the token issuer.
            clock: Returns the time in seconds since 1970.
        """
        self._keys = keys
        self._registry = _Registry(keys.algorithms)
        self._leeway_seconds = leeway_seconds
        self._clock = clock
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(clock()),
            leeway=leeway_seconds,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        # A caller sends one token with many calls: its signature is checked once, its expiry every time.
        self._verified: dict[bytes, VerifiedToken] = {}
        self._generation = keys.generation

    async def verify(self, token: str) -> VerifiedToken:
        """Verify a token and return its claims.

        Raises:
            InvalidToken: The token is invalid.
        """
        if len(token) > _MAX_TOKEN_LENGTH:
            raise InvalidToken("too long")
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        verified = self._cached().get(digest)
        if verified is None:
            parts = _FORM.fullmatch(token)
            if parts is None:
                raise InvalidToken("not a signed JWT in compact form")
            kid, algorithm = self._key_id(parts[1])
            key = await self._keys.find(kid, algorithm)
            if key is None:
                raise InvalidToken("no key with this kid and alg is known")
            verified = self._check(token, key)
            self._cache(digest, verified)
        elif self._clock() >= verified.expires_at + self._leeway_seconds:
            raise InvalidToken("expired", _EXPIRED)
        return verified

    def _key_id(self, segment: str) -> tuple[str, str]:
        """Return the ``kid`` and ``alg`` of the header."""
        try:
            header = json_object(from_base64url(segment))
        except ValueError as error:
            raise InvalidToken("malformed header") from error
        if "crit" in header or "b64" in header:
            raise InvalidToken("needs an unsupported extension (crit, b64)")
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._keys.algorithms:
            raise InvalidToken("alg not accepted")
        if not isinstance(kid, str) or not kid:
            raise InvalidToken("no kid")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise InvalidToken("typ is not that of an access token")
        return kid, algorithm

    def _check(self, token: str, key: Key) -> VerifiedToken:
        try:
            payload = jws.deserialize_compact(token, key, registry=self._registry).payload
            claims = json_object(payload)
            self._claims.validate(claims)
        except ExpiredTokenError as error:
            raise InvalidToken("expired", _EXPIRED) from error
        except (InvalidClaimError, MissingClaimError) as error:
            # The signature is valid: the holder of the token may know.
            raise InvalidToken(
                f"{type(error).__name__} {error.claim}",
                f"The bearer token is not accepted: its claim {error.claim} is missing or not as required here.",
            ) from error
        except JoseError as error:
            # Only the class, because the text may quote the token.
            raise InvalidToken(type(error).__name__) from error
        except (ValueError, TypeError) as error:
            raise InvalidToken("malformed payload") from error
        return VerifiedToken(claims["sub"], claims["exp"], _bound_to(claims))

    def _cached(self) -> dict[bytes, VerifiedToken]:
        # A withdrawn key invalidates its tokens.
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._verified.clear()
        return self._verified

    def _cache(self, digest: bytes, verified: VerifiedToken) -> None:
        cached = self._cached()
        if len(cached) >= _MAX_VERIFIED:
            cached.clear()
        cached[digest] = verified


class _Registry(jws.JWSRegistry):
    """joserfc's registry without its warning that EdDSA has a second name (RFC 9864)."""

    max_header_length = _MAX_TOKEN_LENGTH
    max_payload_length = _MAX_TOKEN_LENGTH
    max_signature_length = _MAX_TOKEN_LENGTH

    def __init__(self, algorithms: frozenset[str]) -> None:
        # Unknown parameters are ignored unless marked as critical (RFC 7515 section 4).
        super().__init__(algorithms=algorithms, strict_check_header=False)
        self._accepted = algorithms

    def get_alg(self, name: str) -> Any:
        if name not in self._accepted:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def _bound_to(claims: dict[str, Any]) -> str | None:
    confirmation = claims.get("cnf")
    if confirmation is None:
        return None
    thumbprint = confirmation.get(_THUMBPRINT) if isinstance(confirmation, dict) else None
    if not isinstance(thumbprint, str) or len(confirmation) != 1:
        raise InvalidToken("bound to its holder in an unsupported way (cnf)")
    return thumbprint
