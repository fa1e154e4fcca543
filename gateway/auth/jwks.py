"""The keys that verify callers' tokens (RFC 7517), reloaded regularly."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from gateway.aio.clock import every
from gateway.auth.jose import from_base64url
from gateway.auth.jwks_sources import Source, SourceError
from gateway.formats.json_input import InvalidJsonError, read_object, without_nulls

__all__ = ["Algorithm", "Jwks", "Keys", "parse"]

Algorithm: TypeAlias = Literal["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]
"""A signature algorithm of RFC 7518 section 3.1, RFC 8037 section 3.1 or RFC 9864; none of them has a shared secret."""

Keys: TypeAlias = Mapping[tuple[str, str], Key]
"""Public keys by ``kid`` and ``alg``. A key is listed only under algorithms that it is made for."""

_KINDS: Final[Mapping[Algorithm, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "PS256": ("RSA", None),
    "RS256": ("RSA", None),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The ``kty`` and ``crv`` of each algorithm's keys."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MIN_RELOAD_SECONDS = 30.0

_log = structlog.get_logger(__name__)


def parse(document: bytes, algorithms: Collection[Algorithm]) -> Keys:
    """Return the usable keys of a JWK set; ignore the others, as RFC 7517 section 5 says.

    Ignored are keys without ``kid``, for encryption, of other algorithms, RSA keys below 2048 bits, and private keys,
    because anyone who can read the set could sign with them.

    Raises:
        SourceError: The document is not a JWK set.
    """
    try:
        listed = read_object(document)["keys"]
    except (InvalidJsonError, KeyError):
        raise SourceError("not a JWK set") from None
    if not isinstance(listed, list):
        raise SourceError("not a JWK set")
    found: dict[tuple[str, str], Key] = {}
    for each in listed:
        jwk = without_nulls(each) if isinstance(each, dict) else {}
        if not _may_verify(jwk):
            continue
        for algorithm in algorithms:
            key = _import(jwk, algorithm)
            if key is not None:
                found.setdefault((jwk["kid"], algorithm), key)
    return found


def _may_verify(jwk: Mapping[str, Any]) -> bool:
    if not isinstance(jwk.get("kid"), str) or not jwk["kid"] or _PRIVATE & jwk.keys():
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
                if not _MIN_RSA_BITS <= bits <= _MAX_RSA_BITS:
                    return None
                return RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e")})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


class Jwks:
    """The keys of one source, reloaded regularly, and when a token names an unknown key.

    A failed load keeps the present keys. Only one load runs at a time.
    """

    def __init__(
        self,
        source: Source,
        algorithms: Collection[Algorithm],
        *,
        unknown_key_floor_seconds: float = _MIN_RELOAD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without keys; `kept_fresh` loads them.

        Args:
            source: The source of the JWK set.
            algorithms: The accepted algorithms.
            unknown_key_floor_seconds: The time after a load during which unknown keys cause no other one, so that
                invented key ids cannot make the gateway overload its identity provider.
            clock: Returns monotonic seconds.
        """
        self.algorithms: frozenset[Algorithm] = frozenset(algorithms)
        self.generation = 0
        """Incremented whenever the keys change."""
        self._source = source
        self._keys: Keys = {}
        self._min_reload_seconds = unknown_key_floor_seconds
        self._clock = clock
        self._loaded_at = -float("inf")
        self._loading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def kept_fresh(self, age_seconds: float) -> AsyncIterator[None]:
        """Load the keys, and reload them while the context lasts.

        A source that fails at start-up does not prevent the start. Until keys are loaded, every token is rejected.

        Args:
            age_seconds: The pause between two loads.
        """
        try:
            await self._reload()
            async with every(age_seconds, self._reload):
                yield
        finally:
            if self._loading is not None:
                self._loading.cancel()
                await asyncio.gather(self._loading, return_exceptions=True)

    async def find(self, kid: str, algorithm: str) -> Key | None:
        """Return a key, after a reload if it is unknown; None if there is none."""
        wanted = (kid, algorithm)
        if wanted not in self._keys and (
            self._is_loading or self._clock() >= self._loaded_at + self._min_reload_seconds
        ):
            await self._reload()
        return self._keys.get(wanted)

    @property
    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading.done()

    async def _reload(self) -> None:
        if self._loading is None or self._loading.done():
            self._loaded_at = self._clock()
            self._loading = asyncio.create_task(self._load())
        # Shielded, because other callers may wait for the same load.
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        try:
            document = await self._source.read()
            if document is None:
                return
            keys = parse(document, self.algorithms)
        except SourceError as error:
            _log.error("jwks_load_failed", source=self._source.location, why=str(error))
            return
        self._keys = keys
        self.generation += 1
        _log.info("jwks_loaded", source=self._source.location, count=len(keys))
        if not keys:
            _log.warning("jwks_found_empty", source=self._source.location)
