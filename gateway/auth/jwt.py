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

from gateway.auth.errors import Unidentified
from gateway.auth.jose import from_base64url, json_object
from gateway.auth.jwks import Jwks

__all__ = ["TokenVerifier", "VerifiedToken"]

_LONGEST_TOKEN = 8192
_MOST_VERIFIED = 1024
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES: Final = frozenset({"jwt", "at+jwt", "jose"})
"""What callers' tokens are typed as, if at all. Other types (logout tokens, DPoP proofs) are meant for other uses."""
_THUMBPRINT: Final = "x5t#S256"


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a good token says."""

    subject: str
    """Its ``sub``."""
    expires_at: float
    """Its ``exp``, in seconds since 1970 (UTC)."""
    certificate_thumbprint: str | None
    """The only certificate with which it may be shown (RFC 8705 section 3.1); None if it may be shown with any."""


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
        """Prepare.

        Args:
            keys: The issuer's keys, and the algorithms that are taken.
            issuer: What ``iss`` has to be.
            audience: What ``aud`` has to be or to contain.
            leeway_seconds: By how much the issuer's clock may differ from ours.
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
        # A caller shows one token with many calls: its signature is checked once, its expiry every time.
        self._verified: dict[bytes, VerifiedToken] = {}
        self._generation = keys.generation

    async def verify(self, token: str) -> VerifiedToken:
        """Tell what a token says.

        Raises:
            Unidentified: It is not good.
        """
        if len(token) > _LONGEST_TOKEN:
            raise Unidentified("token: it is too long")
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        verified = self._remembered().get(digest)
        if verified is None:
            parts = _FORM.fullmatch(token)
            if parts is None:
                raise Unidentified("token: it is no signed JWT in compact form")
            kid, algorithm = self._announced(parts[1])
            key = await self._keys.find(kid, algorithm)
            if key is None:
                raise Unidentified("token: no key of this kid and alg is known")
            verified = self._check(token, key)
            self._remember(digest, verified)
        elif self._clock() >= verified.expires_at + self._leeway_seconds:
            raise Unidentified("token: it has expired")
        return verified

    def _announced(self, segment: str) -> tuple[str, str]:
        """Read from the header which key and algorithm the token needs."""
        try:
            header = json_object(from_base64url(segment))
        except ValueError as error:
            raise Unidentified("token: its header cannot be read") from error
        if "crit" in header or "b64" in header:
            raise Unidentified("token: it needs an extension that is not taken (crit, b64)")
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._keys.algorithms:
            raise Unidentified("token: its alg is not taken")
        if not isinstance(kid, str) or not kid:
            raise Unidentified("token: it has no kid")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise Unidentified("token: its typ is not that of an access token")
        return kid, algorithm

    def _check(self, token: str, key: Key) -> VerifiedToken:
        try:
            payload = jws.deserialize_compact(token, key, registry=self._registry).payload
            claims = json_object(payload)
            self._claims.validate(claims)
        except ExpiredTokenError as error:
            raise Unidentified("token: it has expired") from error
        except (InvalidClaimError, MissingClaimError) as error:
            raise Unidentified(f"token: {type(error).__name__} {error.claim}") from error
        except JoseError as error:
            # The class says what is wrong; the text may quote the token.
            raise Unidentified(f"token: {type(error).__name__}") from error
        except (ValueError, TypeError) as error:
            raise Unidentified("token: it cannot be read") from error
        return VerifiedToken(claims["sub"], claims["exp"], _bound_to(claims))

    def _remembered(self) -> dict[bytes, VerifiedToken]:
        # A key that was withdrawn takes its tokens with it.
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._verified.clear()
        return self._verified

    def _remember(self, digest: bytes, verified: VerifiedToken) -> None:
        remembered = self._remembered()
        if len(remembered) >= _MOST_VERIFIED:
            remembered.clear()
        remembered[digest] = verified


class _Registry(jws.JWSRegistry):
    """joserfc's registry without its warning that EdDSA now has a second name (RFC 9864)."""

    max_header_length = _LONGEST_TOKEN
    max_payload_length = _LONGEST_TOKEN
    max_signature_length = _LONGEST_TOKEN

    def __init__(self, algorithms: frozenset[str]) -> None:
        # Parameters that nobody marked as critical are passed over (RFC 7515 section 4).
        super().__init__(algorithms=algorithms, strict_check_header=False)
        self._taken = algorithms

    def get_alg(self, name: str) -> Any:
        if name not in self._taken:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def _bound_to(claims: dict[str, Any]) -> str | None:
    confirmation = claims.get("cnf")
    if confirmation is None:
        return None
    thumbprint = confirmation.get(_THUMBPRINT) if isinstance(confirmation, dict) else None
    if not isinstance(thumbprint, str) or len(confirmation) != 1:
        raise Unidentified("token: it is bound to its holder in a way that cannot be checked here (cnf)")
    return thumbprint
