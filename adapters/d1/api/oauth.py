"""D1's access tokens (RFC 7523; D1 API: get OAuth 2.0 access token)."""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import structlog
from joserfc import jwt
from joserfc.jwk import ECKey

from adapters.d1.api.endpoints import TOKEN
from adapters.d1.api.errors import contract_broken, no_token, refusal
from adapters.d1.api.http import D1Http
from adapters.d1.api.keys import IssuerKeys
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.settings import UpstreamSettings

__all__ = ["TokenSource", "sign_assertion"]

_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ALGORITHM = "ES256"
_ASSERTION_LIFETIME_SECONDS = 300
"""D1 accepts 900 at most."""
_REFRESH_FRACTION = 0.8
"""The part of a token's life after which a new one is fetched."""
_REFRESH_PAUSE_SECONDS = 5.0
"""How long the next early refresh waits after one has failed."""
_DOCUMENTED_LIFE_SECONDS = 900
"""The life of a token whose answer does not name it."""
_ASSERTION_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED})
"""How D1 answers an assertion that it does not take. Another key may still do, while one is being replaced."""
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1."""

_log = structlog.get_logger(__name__)


def sign_assertion(issuer_id: str, key: ECKey, audience: str | None, now: float) -> str:
    """Sign the JWT that the issuer exchanges for a token (RFC 7523 section 3).

    Args:
        issuer_id: The ``iss`` and the ``sub``.
        key: What signs: an assertion key of the issuer.
        audience: The ``aud``; None leaves it out.
        now: Seconds since 1970 (UTC).
    """
    issued = int(now)
    claims: dict[str, Any] = {
        "iss": issuer_id,
        "sub": issuer_id,
        "iat": issued,
        "exp": issued + _ASSERTION_LIFETIME_SECONDS,
        "jti": str(uuid.uuid4()),
    }
    if audience is not None:
        claims["aud"] = audience
    header = {"alg": _ALGORITHM, "typ": "JWT", "kid": key.kid}
    return jwt.encode(header, claims, key, algorithms=[_ALGORITHM])


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    refresh_time: float
    """From when on a new one is fetched while this one still serves, on the source's monotonic clock."""
    expiry_time: float
    """From when on this one serves no more."""


@dataclass(slots=True)
class _Cache:
    """What is known for one issuer: its keys, a token, and the fetch of the next one while it runs."""

    assertion_keys: Sequence[ECKey]
    """In the order in which they are tried: the one that D1 took last comes first."""
    token: _Token | None = None
    fetch: asyncio.Task[_Token | GatewayError] | None = None


class TokenSource:
    """The access tokens of all issuers: cached, refreshed before they expire, and never fetched twice at a time."""

    def __init__(
        self,
        http: D1Http,
        keys: Mapping[str, IssuerKeys],
        settings: UpstreamSettings,
        *,
        assertion_audience: str | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is fetched before a token is asked for.

        Args:
            http: How to reach the token endpoint.
            keys: The keys of each issuer, by its id.
            settings: How long a fetch may take.
            assertion_audience: The ``aud`` claim of assertions; None leaves it out.
            clock: Seconds since 1970 (UTC), for the assertions.
            monotonic: Seconds of a clock that never goes back, for the age of tokens.
        """
        self._http = http
        self._timeout_seconds = settings.total_timeout_seconds
        self._assertion_audience = assertion_audience
        self._clock = clock
        self._monotonic = monotonic
        self._caches = {issuer_id: _Cache(of_issuer.assertion_keys) for issuer_id, of_issuer in keys.items()}

    async def get(self, issuer_id: str, correlation_id: str) -> str:
        """Get a token that is valid now, as far as is known.

        Without one, all callers wait for the same fetch; whoever is cancelled meanwhile leaves it running for the
        others. While a token is being refreshed it still serves.

        Args:
            issuer_id: One of the issuers that the source was made with.
            correlation_id: Goes with the fetch, if this call is the one that starts it.

        Raises:
            GatewayError: No token could be fetched; the outcome is NOT_SENT. The next call tries anew.
        """
        held = self.held(issuer_id, correlation_id)
        if held is not None:
            return held
        fetch = self._caches[issuer_id].fetch or self._start_fetch(issuer_id, correlation_id)
        fetched = await asyncio.shield(fetch)
        if isinstance(fetched, GatewayError):
            raise no_token(fetched)
        return fetched.value

    def held(self, issuer_id: str, correlation_id: str) -> str | None:
        """Get a token without waiting, as `get` would; None if there is none."""
        cache = self._caches[issuer_id]
        now = self._monotonic()
        if cache.token is None or now >= cache.token.expiry_time:
            return None
        if now >= cache.token.refresh_time and cache.fetch is None:
            self._start_fetch(issuer_id, correlation_id)
        return cache.token.value

    def discard(self, issuer_id: str, token: str) -> None:
        """Forget a token that D1 refused, unless another one has taken its place."""
        cache = self._caches[issuer_id]
        if cache.token is not None and cache.token.value == token:
            cache.token = None

    async def aclose(self) -> None:
        """Give up the fetches that still run."""
        fetches = [cache.fetch for cache in self._caches.values() if cache.fetch is not None]
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    def _start_fetch(self, issuer_id: str, correlation_id: str) -> asyncio.Task[_Token | GatewayError]:
        fetch = asyncio.create_task(self._fetch(issuer_id, correlation_id), name=f"D1 token of {issuer_id}")
        self._caches[issuer_id].fetch = fetch
        return fetch

    async def _fetch(self, issuer_id: str, correlation_id: str) -> _Token | GatewayError:
        """Fetch a token into the cache.

        A failure is returned, not raised: nobody may be left to receive it, and each of many waiters needs an exception
        of its own.
        """
        cache = self._caches[issuer_id]
        try:
            cache.token = await self._request(issuer_id, correlation_id)
        except GatewayError as error:
            if cache.token is not None:
                cache.token = replace(cache.token, refresh_time=self._monotonic() + _REFRESH_PAUSE_SECONDS)
            _log.warning(
                "token_fetch_failed", issuer_id=issuer_id, correlation_id=correlation_id, reason=error.reason_name
            )
            return error
        else:
            return cache.token
        finally:
            cache.fetch = None

    async def _request(self, issuer_id: str, correlation_id: str) -> _Token:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        return await self._http.retried(
            lambda: self._exchange(issuer_id, correlation_id, deadline),
            method=TOKEN.method,
            endpoint=TOKEN.template,
            deadline=deadline,
            # A second token does no harm, and its assertion is a new one.
            idempotent=True,
        )

    async def _exchange(self, issuer_id: str, correlation_id: str, deadline: float) -> _Token:
        # A token's life counts from before it was asked for, so that it never seems longer than it is.
        asked = self._monotonic()
        for key in self._caches[issuer_id].assertion_keys:
            answer = await self._ask(issuer_id, key, correlation_id, deadline)
            if answer.status not in _ASSERTION_REFUSED:
                break
        if not answer.succeeded:
            raise refusal(answer)
        token = _read_token(answer, asked)
        self._prefer(issuer_id, key)
        return token

    async def _ask(self, issuer_id: str, key: ECKey, correlation_id: str, deadline: float) -> UpstreamResponse:
        assertion = sign_assertion(issuer_id, key, self._assertion_audience, self._clock())
        return await self._http.send(
            TOKEN.method,
            TOKEN.path(),
            endpoint=TOKEN.template,
            headers={"Content-Type": "application/x-www-form-urlencoded", "x-correlation-id": correlation_id},
            body=urlencode({"grant_type": _GRANT_TYPE, "assertion": assertion}).encode(),
            deadline=deadline,
        )

    def _prefer(self, issuer_id: str, key: ECKey) -> None:
        """Sign with a key from now on: D1 has just taken it, and refused those that were tried before."""
        cache = self._caches[issuer_id]
        first = cache.assertion_keys[0]
        if key is not first:
            cache.assertion_keys = [key, *(other for other in cache.assertion_keys if other is not key)]
            _log.warning(
                "assertion_key_switched",
                issuer_id=issuer_id,
                kid=key.kid,
                refused_kid=first.kid,
            )


def _read_token(answer: UpstreamResponse, asked: float) -> _Token:
    """Read a token answer (RFC 6749 section 5.1)."""
    body = answer.json_object() or {}
    value = body.get("access_token")
    life = _life_seconds(body.get("expires_in", _DOCUMENTED_LIFE_SECONDS))
    is_bearer = str(body.get("token_type", "Bearer")).lower() == "bearer"
    if not isinstance(value, str) or not _BEARER_TOKEN.fullmatch(value) or life is None or not is_bearer:
        raise contract_broken("D1's token answer cannot be read.", status=answer.status)
    return _Token(value, refresh_time=asked + _REFRESH_FRACTION * life, expiry_time=asked + life)


def _life_seconds(expires_in: object) -> float | None:
    """Read ``expires_in``, which D1 writes as a number in one place and as text in another; None if it is neither."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return None
    try:
        life = float(expires_in)
    except ValueError:
        return None
    return life if math.isfinite(life) and life > 0 else None
