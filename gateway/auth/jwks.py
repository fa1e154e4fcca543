"""The keys that callers' tokens are signed with (RFC 7517), kept fresh."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias, TypeGuard

import orjson
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from gateway.aio.clock import every
from gateway.auth.jose import from_base64url
from gateway.auth.jwks_sources import Source, SourceError

__all__ = ["Algorithm", "Jwks", "Keys", "parse"]

Algorithm: TypeAlias = Literal["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]
"""A signature algorithm of RFC 7518 section 3.1, RFC 8037 section 3.1 or RFC 9864; none of them has a shared secret."""

Keys: TypeAlias = Mapping[tuple[str, str], Key]
"""Public keys, by ``kid`` and ``alg``: a key is found only for an algorithm that it is made for."""

_KINDS: Final[Mapping[Algorithm, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "PS256": ("RSA", None),
    "RS256": ("RSA", None),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The ``kty`` and ``crv`` of each algorithm's keys."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_LEAST_RSA_BITS = 2048
_MOST_RSA_BITS = 8192
_UNKNOWN_KEY_FLOOR_SECONDS = 30.0

_log = structlog.get_logger(__name__)


def parse(document: bytes, algorithms: Collection[Algorithm]) -> Keys:
    """Read the keys that can be used out of a JWK set; pass over the others, as RFC 7517 section 5 says.

    Passed over are keys without ``kid``, for encryption, of no listed algorithm, RSA keys below 2048 bits, and keys
    whose private half stands in the set: whoever can read the set could sign with them.

    Raises:
        SourceError: It is no JWK set.
    """
    try:
        listed = orjson.loads(document)["keys"]
    except (ValueError, TypeError, KeyError):
        raise SourceError("it is no JWK set") from None
    if not isinstance(listed, list):
        raise SourceError("it is no JWK set")
    found: dict[tuple[str, str], Key] = {}
    for jwk in listed:
        if not _may_verify(jwk):
            continue
        for algorithm in algorithms:
            key = _import(jwk, algorithm)
            if key is not None:
                found.setdefault((jwk["kid"], algorithm), key)
    return found


def _may_verify(jwk: object) -> TypeGuard[dict[str, Any]]:
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or not jwk["kid"] or _PRIVATE & jwk.keys():
        return False
    operations = jwk.get("key_ops")
    return jwk.get("use", "sig") == "sig" and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )


def _import(jwk: Mapping[str, Any], algorithm: Algorithm) -> Key | None:
    if (jwk.get("kty"), jwk.get("crv")) != _KINDS[algorithm] or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        match jwk["kty"]:
            case "EC":
                return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
            case "OKP":
                return OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x")})
            case _:
                bits = int.from_bytes(from_base64url(jwk["n"])).bit_length()
                if not _LEAST_RSA_BITS <= bits <= _MOST_RSA_BITS:
                    return None
                return RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e")})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


class Jwks:
    """The keys of one source: read again at a regular age, and when a token names a key that is not among them.

    A reading that fails keeps the keys there are. There is never more than one at a time.
    """

    def __init__(
        self,
        source: Source,
        algorithms: Collection[Algorithm],
        *,
        unknown_key_floor_seconds: float = _UNKNOWN_KEY_FLOOR_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `kept_fresh` reads the keys.

        Args:
            source: Where the JWK set is.
            algorithms: The algorithms that are taken.
            unknown_key_floor_seconds: How long after a reading unknown keys cause no other one, so that a caller
                that invents key ids cannot make the gateway load its identity provider.
            clock: Returns seconds that never go back.
        """
        self.algorithms: frozenset[Algorithm] = frozenset(algorithms)
        self.generation = 0
        """Counts how often the keys have changed."""
        self._source = source
        self._keys: Keys = {}
        self._floor_seconds = unknown_key_floor_seconds
        self._clock = clock
        self._read_at = -float("inf")
        self._reading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def kept_fresh(self, age_seconds: float) -> AsyncIterator[None]:
        """Read the keys, and go on reading them for as long as the context lasts.

        Without keys every token is refused; that a source is out of order at a start-up is no reason not to start.

        Args:
            age_seconds: How long after the end of a reading the next one begins.
        """
        try:
            await self._read_again()
            async with every(age_seconds, self._read_again):
                yield
        finally:
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)

    async def find(self, kid: str, algorithm: str) -> Key | None:
        """Return a key, after another reading if it is unknown; None if there is none."""
        wanted = (kid, algorithm)
        if wanted not in self._keys and (self._is_reading or self._clock() >= self._read_at + self._floor_seconds):
            await self._read_again()
        return self._keys.get(wanted)

    @property
    def _is_reading(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def _read_again(self) -> None:
        if self._reading is None or self._reading.done():
            self._read_at = self._clock()
            self._reading = asyncio.create_task(self._read())
        # Shielded: a caller that hangs up does not end what others wait for.
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            document = await self._source.read()
            if document is None:
                return
            keys = parse(document, self.algorithms)
        except SourceError as error:
            _log.error("jwks_load_failed", source=self._source.place, why=str(error))
            return
        self._keys = keys
        self.generation += 1
        _log.info("jwks_loaded", source=self._source.place, count=len(keys))
        if not keys:
            _log.warning("jwks_found_empty", source=self._source.place)
