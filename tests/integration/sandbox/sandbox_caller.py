"""A client of the simulated D1, with another JOSE library than the simulator's."""

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from jwcrypto import jwe, jwk, jws  # type: ignore[import-untyped] # ships no types

from sandbox import Sandbox

__all__ = [
    "ACCOUNTS",
    "GRANT_TYPE",
    "OTHER_PAN",
    "PAN",
    "Caller",
    "ManualClock",
    "Response",
    "authenticated",
    "is_served",
    "jwk",
    "trusting",
    "unsecured",
]

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PAN = "4000001234567899"
OTHER_PAN = "5200001234567890123"
ACCOUNTS = [{"default": True, "type": "CURRENT", "number": "001", "currencyCode": "EUR"}]


class ManualClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def trusting(sandbox: Sandbox) -> ssl.SSLContext:
    """A client without a certificate."""
    return ssl.create_default_context(cafile=sandbox.pki.server_ca)


def authenticated(sandbox: Sandbox) -> ssl.SSLContext:
    """A client with the gateway's certificate."""
    context = trusting(sandbox)
    context.load_cert_chain(sandbox.pki.gateway_client.certificate, sandbox.pki.gateway_client.key)
    return context


async def is_served(url: str, tls: ssl.SSLContext | None = None) -> bool:
    """Return whether a port accepts connections."""
    connector = aiohttp.TCPConnector() if tls is None else aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.post(url):
                return True
        except aiohttp.ClientError:
            return False


@dataclass(frozen=True, slots=True)
class Response:
    """D1's response."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Caller:
    """Calls the simulated D1 as the gateway does."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession, clock: ManualClock) -> None:
        self.sandbox = sandbox
        self.session = session
        self.clock = clock
        self.assertion_key = jwk.JWK.from_json(sandbox.pki.assertion_key.read_text())
        self.encryption_key = jwk.JWK.from_json(sandbox.pki.encryption_public_key.read_text())
        self._cards = f"/banking/v2/issuers/{sandbox.issuer_id}/cards"
        self._token = ""

    def claims(self, **changes: Any) -> dict[str, Any]:
        issuer = self.sandbox.issuer_id
        return {"iss": issuer, "sub": issuer, "exp": int(self.clock.now) + 600} | changes

    def assertion(
        self,
        claims: Mapping[str, Any] | None = None,
        *,
        key: "jwk.JWK | None" = None,
        **header: Any,
    ) -> str:
        signed = jws.JWS(json.dumps(claims or self.claims()))
        protected = {"alg": "ES256", "typ": "JWT", "kid": self.assertion_key["kid"]} | header
        signed.add_signature(key or self.assertion_key, protected=json.dumps(protected))
        return str(signed.serialize(compact=True))

    def encrypted(
        self,
        pan: str = PAN,
        exp: str = "1228",
        *,
        plaintext: str | None = None,
        key: "jwk.JWK | None" = None,
        **header: Any,
    ) -> str:
        protected = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": self.encryption_key["kid"]} | header
        sealed = jwe.JWE(plaintext or json.dumps({"pan": pan, "exp": exp}), protected=json.dumps(protected))
        sealed.add_recipient(key or self.encryption_key)
        return str(sealed.serialize(compact=True))

    async def get_token(self, assertion: str | None = None) -> Response:
        form = {"grant_type": GRANT_TYPE, "assertion": assertion or self.assertion()}
        return await self.send("POST", "/authz/v1/oauth2/token", data=form)

    async def sign_in(self) -> None:
        self._token = (await self.get_token()).json["access_token"]

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send JSON, if any, to a path below that of the issuer's cards."""
        return await self.send(method, self._cards + path, json=body, headers=self.headers() | headers)

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send JSON, if any, to a path below ``/banking/`` that may name ``{issuer}``."""
        path = "/banking/" + path.replace("{issuer}", self.sandbox.issuer_id)
        return await self.send(method, path, json=body, headers=self.headers() | headers)

    async def send_raw(self, method: str, path: str, body: str, content_type: str) -> Response:
        """Send raw text to a path below that of the issuer's cards."""
        headers = self.headers() | {"Content-Type": content_type}
        return await self.send(method, self._cards + path, data=body, headers=headers)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    async def send(self, method: str, path: str, **arguments: Any) -> Response:
        async with self.session.request(method, self.sandbox.d1_url + path, **arguments) as response:
            return Response(response.status, await response.text())

    async def register(self, card_id: str, *, pan: str = PAN, exp: str = "1228", **changes: Any) -> Response:
        body = {"consumerId": "consumer-1", "cardProductId": "light", "encryptedData": self.encrypted(pan, exp)}
        return await self.call("PUT", f"/{card_id}", body | changes)

    async def create(self, **changes: Any) -> Response:
        body = {"consumerId": "consumer-1", "cardProductId": "light", "accounts": ACCOUNTS}
        return await self.call("POST", "", body | changes)

    async def operate(self, verb: str, card_id: str, **body: Any) -> Response:
        return await self.call("POST", f"/{card_id}/operations:{verb}", body)

    def state(self, card_id: str) -> str:
        return self.sandbox.store.card(card_id).state.value


def unsecured(claims: Mapping[str, Any], kid: str) -> str:
    """Return an assertion marked as unsigned (RFC 7519, section 6)."""
    header = {"alg": "none", "typ": "JWT", "kid": kid}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    return ".".join([*parts, ""])
