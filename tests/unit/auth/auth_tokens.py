"""An identity provider in memory: its keys, and tokens as good or as bad as a test wants them."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from gateway.auth.jwks import Algorithm, Jwks
from gateway.auth.jwt import TokenVerifier

ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "RS256", "PS256", "EdDSA", "Ed25519")
ISSUER = "https://identity.bank"
AUDIENCE = "d1-gateway"
NOW = 2_000_000_000

EC = ECKey.generate_key("P-256", {"kid": "ec"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})

SignatureKey = ECKey | RSAKey | OKPKey | OctKey


class Held:
    """A `gateway.auth.jwks_sources.Source` that returns what a test sets."""

    location = "in memory"

    def __init__(self, document: bytes) -> None:
        self.document: bytes | Exception | None = document
        self.read_count = 0

    async def read(self) -> bytes | None:
        self.read_count += 1
        document, self.document = self.document, None
        if isinstance(document, Exception):
            raise document
        return document


def jwk(key: Key, **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": key.kid, **members}


def jwk_set(*jwks: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Make good claims; a change to None takes one away."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "card-service", "exp": NOW + 300, "iat": NOW}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(header: bytes, payload: bytes, key: SignatureKey, algorithm: str) -> str:
    """Sign bytes, whether or not they make a token."""
    signing_input = b".".join(_base64url(part) for part in (header, payload))
    signature = JWSRegistry.algorithms[algorithm].sign(signing_input, key)
    return b".".join((signing_input, _base64url(signature))).decode()


def signed(
    key: SignatureKey = EC, algorithm: str = "ES256", *, header: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    """Make a token that is good but for the changes. A parameter of the header that is None is left out."""
    parameters = {"alg": algorithm, "kid": key.kid, "typ": "JWT", **(header or {})}
    given = {name: value for name, value in parameters.items() if value is not None}
    return sign(json.dumps(given).encode(), json.dumps(claims(**changes)).encode(), key, algorithm)


def verifier(keys: Jwks, *, leeway_seconds: int = 30, now: float = NOW) -> TokenVerifier:
    return TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, leeway_seconds=leeway_seconds, clock=lambda: now)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what sends no event."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
