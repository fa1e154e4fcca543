"""D1's access tokens (RFC 7523; D1 API: get OAuth 2.0 access token)."""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import structlog
from joserfc import jwt
from joserfc.jwk import ECKey

from adapters.d1.api.endpoints import TOKEN, token_form
from adapters.d1.api.errors import contract_broken, expect_success, no_token, token_refusal
from adapters.d1.api.keys import IssuerKeys
from adapters.d1.assumptions import Assumption
from adapters.http.client import HttpExchange
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.logging import correlation
from gateway.settings import UpstreamSettings

__all__ = ["TokenSource", "read_token", "sign_assertion"]

_ALGORITHM = "ES256"
_ASSERTION_LIFETIME_SECONDS = 300
"""D1 accepts 900 at most."""
_REFRESH_FRACTION = 0.8
"""Part of a token's lifetime after which a new token is fetched."""
_REFRESH_PAUSE_SECONDS = 5.0
"""Delay of the next early refresh after a failed one."""
_REJECTION_PAUSE_SECONDS = 5.0
"""Time between two new tokens while D1 rejects new ones: another would not help, but load the token endpoint."""
_DOCUMENTED_LIFETIME_SECONDS = 900
"""Lifetime of a token whose response does not state it."""
_ASSERTION_REJECTED: Annotated[
    frozenset[HTTPStatus],
    Assumption(
        what="the statuses of an assertion that is rejected",
        basis="RFC 6749, section 5.2; D1 shows 400 only",
        if_wrong="During a rotation the second key is not tried: calls fail until D1 knows the first one.",
    ),
] = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED})
"""Statuses by which D1 rejects an assertion. During a replacement, another key may still be accepted."""
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1."""

_log = structlog.get_logger(__name__)


def sign_assertion(subject: str, key: ECKey, audience: str, now: float) -> str:
    """Sign the JWT that an issuer or an aggregator exchanges for a token (RFC 7523 section 3).

    Args:
        subject: Value of ``iss`` and ``sub``: the id of the issuer or the aggregator (D1 API: get OAuth 2.0 access
            token).
        key: Its assertion key.
        audience: Value of ``aud``; empty to leave it out.
        now: Time in seconds since 1970 (UTC).
    """
    issued = int(now)
    claims: dict[str, Any] = {
        "iss": subject,
        "sub": subject,
        "iat": issued,
        "exp": issued + _ASSERTION_LIFETIME_SECONDS,
        "jti": str(uuid.uuid4()),
    }
    if audience:
        claims["aud"] = audience
    header = {"alg": _ALGORITHM, "typ": "JWT", "kid": key.kid}
    return jwt.encode(header, claims, key, algorithms=[_ALGORITHM])


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    refresh_time: float
    """When a new one is fetched while this one stays in use, on the source's monotonic clock."""
    expiry_time: float
    """When this one is no longer used."""


@dataclass(slots=True)
class _Cache:
    """State of an issuer, or of an aggregator for all its issuers: keys, token, running fetch of the next one."""

    subject: str
    """Id of the issuer or the aggregator."""
    kind: Literal["issuer_id", "aggregator_id"]
    """What `subject` is, in the log."""
    http: HttpExchange
    """Sends the requests for tokens."""
    assertion_keys: Sequence[ECKey]
    """Keys in the order in which they are tried: the one that D1 accepted last comes first."""
    token: _Token | None = None
    fetch: asyncio.Task[_Token | GatewayError] | None = None
    failure: GatewayError | None = None
    """Why the last request of the latest fetch failed."""
    refusal: str = ""
    """Why D1 refused the last assertion, in its words; empty if it did not."""
    next_discard: float = 0.0
    """When a token that D1 never accepted may be replaced, on the source's monotonic clock."""

    @property
    def owner(self) -> dict[str, str]:
        """Whose state it is, for the log."""
        return {self.kind: self.subject}


class TokenSource:
    """Access tokens of all issuers: cached, refreshed before they expire, fetched once at a time.

    The issuers of an aggregator share one token.
    """

    def __init__(
        self,
        connections: Mapping[str, HttpExchange],
        keys: Mapping[str, IssuerKeys],
        settings: UpstreamSettings,
        *,
        common: HttpExchange | None = None,
        assertion_audience: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Initialise, without fetching a token.

        Args:
            connections: What sends requests, by issuer id: a token comes over its issuer's client certificate.
            keys: Keys by issuer id.
            settings: Settings with the time limit of a fetch.
            common: What sends requests for the tokens of aggregators: not an issuer's own connections, so that a
                certificate that D1 refuses stops no other issuer. None if no issuer has an aggregator.
            assertion_audience: The ``aud`` claim of assertions; empty to leave it out.
            clock: Time in seconds since 1970 (UTC), for assertions.
            monotonic: Monotonic time in seconds, for the age of tokens.

        Raises:
            ValueError: There is an aggregator, but nothing to send its requests.
        """
        self._timeout_seconds = settings.total_timeout_seconds
        self._assertion_audience = assertion_audience
        self._clock = clock
        self._monotonic = monotonic
        # By issuer, because D1 may accept an aggregator's token for one issuer and reject it for another.
        self._accepted: dict[str, str] = {}
        self._caches: dict[str, _Cache] = {}
        shared: dict[str, _Cache] = {}
        for issuer_id, of_issuer in keys.items():
            aggregator_id = of_issuer.aggregator_id
            if not aggregator_id:
                http = connections[issuer_id]
                self._caches[issuer_id] = _Cache(issuer_id, "issuer_id", http, of_issuer.assertion_keys)
                continue
            if common is None:
                raise ValueError("An aggregator's token needs a common connection.")
            new = _Cache(aggregator_id, "aggregator_id", common, of_issuer.assertion_keys)
            self._caches[issuer_id] = shared.setdefault(aggregator_id, new)

    async def get(self, issuer_id: str, correlation_id: str) -> str:
        """Return a token that is valid as far as known.

        Without one, all callers wait for the same fetch; cancelling a caller does not stop it. While a token is being
        refreshed it stays in use.

        Args:
            issuer_id: A configured issuer.
            correlation_id: Sent with the fetch if this call starts one.

        Raises:
            GatewayError: No token could be fetched; the outcome is NOT_SENT. The next call starts a new fetch.
        """
        cached = self.cached(issuer_id, correlation_id)
        if cached is not None:
            return cached
        cache = self._caches[issuer_id]
        fetch = cache.fetch or self._start_fetch(cache, correlation_id)
        fetched = await asyncio.shield(fetch)
        if isinstance(fetched, GatewayError):
            raise no_token(fetched)
        return fetched.value

    async def refusal(self, issuer_id: str, correlation_id: str) -> str:
        """Fetch a token unless there is one, and return why that fails, in D1's words if it has any; empty if not."""
        try:
            await self.get(issuer_id, correlation_id)
        except GatewayError:
            cache = self._caches[issuer_id]
            return cache.refusal or (cache.failure.message if cache.failure is not None else "")
        return ""

    def failure(self, issuer_id: str) -> GatewayError | None:
        """Return the error for a call that cannot wait for a fetch that is being retried; None if nothing failed."""
        failure = self._caches[issuer_id].failure
        return None if failure is None else no_token(failure)

    def cached(self, issuer_id: str, correlation_id: str) -> str | None:
        """Return a token without waiting, as `get` would; None if there is none."""
        cache = self._caches[issuer_id]
        now = self._monotonic()
        if cache.token is None or now >= cache.token.expiry_time:
            return None
        if now >= cache.token.refresh_time and cache.fetch is None:
            self._start_fetch(cache, correlation_id)
        return cache.token.value

    def accepted(self, issuer_id: str, token: str) -> None:
        """Note that D1 accepted a token for an issuer."""
        self._accepted[issuer_id] = token

    def discard(self, issuer_id: str, token: str) -> bool:
        """Discard a token that D1 rejected, unless it was replaced already.

        A token that D1 never accepted for the issuer, and that came in place of a rejected one, is kept for a while: D1
        rejects the issuer rather than the token.

        Returns:
            Whether another token may be had.
        """
        cache = self._caches[issuer_id]
        if cache.token is None or cache.token.value != token:
            return True
        now = self._monotonic()
        if self._accepted.get(issuer_id) != token and now < cache.next_discard:
            return False
        cache.token = None
        cache.next_discard = now + _REJECTION_PAUSE_SECONDS
        return True

    async def aclose(self) -> None:
        """Cancel running fetches."""
        fetches = [cache.fetch for cache in self._caches.values() if cache.fetch is not None]
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    def _start_fetch(self, cache: _Cache, correlation_id: str) -> asyncio.Task[_Token | GatewayError]:
        cache.fetch = asyncio.create_task(self._fetch(cache, correlation_id), name=f"D1 token of {cache.subject}")
        return cache.fetch

    async def _fetch(self, cache: _Cache, correlation_id: str) -> _Token | GatewayError:
        """Fetch a token into the cache.

        A failure is returned, not raised: perhaps no caller is left to receive it, and each of several callers needs
        its own exception.
        """
        cache.failure = None
        try:
            cache.token = await self._request(cache, correlation_id)
        except GatewayError as error:
            if cache.token is not None:
                cache.token = replace(cache.token, refresh_time=self._monotonic() + _REFRESH_PAUSE_SECONDS)
            _log.warning(
                "token_fetch_failed",
                **cache.owner,
                correlation_id=correlation_id,
                reason=error.reason_name,
                cause=cache.refusal or error.message,
            )
            return error
        else:
            return cache.token
        finally:
            cache.fetch = None

    async def _request(self, cache: _Cache, correlation_id: str) -> _Token:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds

        async def attempt() -> _Token:
            try:
                return await self._exchange(cache, correlation_id, deadline)
            except GatewayError as error:
                cache.failure = error
                raise

        return await cache.http.retried(
            attempt,
            method=TOKEN.method,
            endpoint=TOKEN.template,
            deadline=deadline,
            # A second token does no harm, and it gets a new assertion.
            idempotent=True,
        )

    async def _exchange(self, cache: _Cache, correlation_id: str, deadline: float) -> _Token:
        # A token's lifetime counts from before the request, so that it is never overestimated.
        requested = self._monotonic()
        cache.refusal = ""
        for key in cache.assertion_keys:
            response = await self._send(cache, key, correlation_id, deadline)
            if response.status not in _ASSERTION_REJECTED:
                break
        if not response.succeeded and not response.is_foreign:
            cache.refusal = token_refusal(response)
        expect_success(response)
        token = read_token(response, requested)
        _prefer(cache, key)
        return token

    async def _send(self, cache: _Cache, key: ECKey, correlation_id: str, deadline: float) -> UpstreamResponse:
        assertion = sign_assertion(cache.subject, key, self._assertion_audience, self._clock())
        return await cache.http.send(
            TOKEN.method,
            TOKEN.path(),
            endpoint=TOKEN.template,
            headers={"Content-Type": "application/x-www-form-urlencoded", correlation.HEADER: correlation_id},
            body=urlencode(token_form(assertion)).encode(),
            deadline=deadline,
        )


def _prefer(cache: _Cache, key: ECKey) -> None:
    """Try a key first from now on: D1 has just accepted it, and rejected those tried before."""
    first = cache.assertion_keys[0]
    if key is not first:
        cache.assertion_keys = [key, *(other for other in cache.assertion_keys if other is not key)]
        _log.warning("assertion_key_switched", **cache.owner, kid=key.kid, refused_kid=first.kid)


def read_token(response: UpstreamResponse, requested: float) -> _Token:
    """Parse a token response (RFC 6749 section 5.1)."""
    body = response.json_object() or {}
    value, expires_in, token_type = (body.get(name) for name in ("access_token", "expires_in", "token_type"))
    lifetime = _lifetime_seconds(_DOCUMENTED_LIFETIME_SECONDS if expires_in is None else expires_in)
    is_bearer = token_type is None or str(token_type).lower() == "bearer"
    if not isinstance(value, str) or not _BEARER_TOKEN.fullmatch(value) or lifetime is None or not is_bearer:
        raise contract_broken("D1's token response is malformed.", status=response.status)
    return _Token(value, refresh_time=requested + _REFRESH_FRACTION * lifetime, expiry_time=requested + lifetime)


def _lifetime_seconds(expires_in: object) -> float | None:
    """Parse ``expires_in``, which D1 writes as a number in one place and as text in another; None if malformed."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return None
    try:
        lifetime = float(expires_in)
    except (ValueError, OverflowError):
        return None
    return lifetime if math.isfinite(lifetime) and lifetime > 0 else None
