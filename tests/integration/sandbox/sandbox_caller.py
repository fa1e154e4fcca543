"""A client of the simulated D1 and of its control API, with another JOSE library than the simulator's."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from jwcrypto import jwe, jwk, jws  # type: ignore[import-untyped] # ships no types

from sandbox import Sandbox

__all__ = ["GRANT_TYPE", "START", "Caller", "ManualClock", "Response", "jwk"]

START = 1_800_000_000.0
"""15 January 2027, 8:00 UTC."""
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"

_NUMBERS = itertools.count(1)


class ManualClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the sandbox."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Caller:
    """Calls the simulated D1 as the gateway does, with ids and card numbers that no other caller has."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession, clock: ManualClock) -> None:
        self.sandbox = sandbox
        self.session = session
        self.clock = clock
        number = next(_NUMBERS)
        self.name = f"n{number}"
        self.card_id, self.consumer_id = f"{self.name}-card", f"{self.name}-consumer"
        self.pan, self.other_pan = f"40000012{number:08}", f"52000012{number:08}"
        self.assertion_key = jwk.JWK.from_json(sandbox.pki.assertion_key.read_text())
        self.encryption_key = jwk.JWK.from_json(sandbox.pki.encryption_public_key.read_text())
        self._token = ""

    def assertion(self, claims: Mapping[str, Any] | None = None, key: "jwk.JWK | None" = None, **header: Any) -> str:
        """Return an assertion. A claim of None is left out."""
        issuer = self.sandbox.issuer_id
        held = {"iss": issuer, "sub": issuer, "exp": int(self.clock.now) + 600} | dict(claims or {})
        signed = jws.JWS(json.dumps({name: value for name, value in held.items() if value is not None}))
        protected = {"alg": "ES256", "typ": "JWT", "kid": self.assertion_key["kid"]} | header
        signed.add_signature(key or self.assertion_key, protected=json.dumps(protected))
        return str(signed.serialize(compact=True))

    def encrypted(self, pan: str = "", exp: str = "1228", *, key: "jwk.JWK | None" = None, **header: Any) -> str:
        return self.sealed(json.dumps({"pan": pan or self.pan, "exp": exp}), key, **header)

    def sealed(self, plaintext: str, key: "jwk.JWK | None" = None, **header: Any) -> str:
        """Encrypt any text as card data."""
        protected = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": self.encryption_key["kid"]} | header
        sealed = jwe.JWE(plaintext, protected=json.dumps(protected))
        sealed.add_recipient(key or self.encryption_key)
        return str(sealed.serialize(compact=True))

    async def get_token(self, assertion: str = "") -> Response:
        form = {"grant_type": GRANT_TYPE, "assertion": assertion or self.assertion()}
        return await self.send("POST", "/authz/v1/oauth2/token", data=form)

    async def sign_in(self) -> None:
        self._token = (await self.get_token()).json["access_token"]

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    async def send(self, method: str, path: str, **arguments: Any) -> Response:
        async with self.session.request(method, self.sandbox.d1_url + path, **arguments) as response:
            return Response(response.status, await response.text())

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Call a path below ``/banking/`` that may name ``{issuer}``, ``{card}`` and ``{consumer}``."""
        path = path.format(issuer=self.sandbox.issuer_id, card=self.card_id, consumer=self.consumer_id)
        return await self.send(method, f"/banking/{path}", json=body, headers=self.headers() | headers)

    async def register(self, card_id: str = "{card}", *, pan: str = "", exp: str = "1228", **changes: Any) -> Response:
        card = {"consumerId": self.consumer_id, "cardProductId": "light", "encryptedData": self.encrypted(pan, exp)}
        return await self.call("PUT", f"v2/issuers/{{issuer}}/cards/{card_id}", card | changes)

    async def create(self, **changes: Any) -> Response:
        account = {"default": True, "type": "CURRENT", "number": "001", "currencyCode": "EUR"}
        card = {"consumerId": self.consumer_id, "cardProductId": "light", "accounts": [account]}
        return await self.call("POST", "v2/issuers/{issuer}/cards", card | changes)

    async def operate(self, verb: str, card_id: str = "{card}", **body: Any) -> Response:
        return await self.call("POST", f"v2/issuers/{{issuer}}/cards/{card_id}/operations:{verb}", body)

    def state(self, card_id: str = "") -> str:
        return self.sandbox.store.card(card_id or self.card_id).state.value

    def cards(self) -> list[str]:
        """The ids of all cards of the caller's consumer."""
        cards = self.sandbox.store.cards()
        return [card.card_id for card in cards if card.details.consumer_id == self.consumer_id]

    async def control(self, method: str, path: str, body: Any = None) -> Response:
        """Call the control API, below ``/sandbox/``."""
        url = f"{self.sandbox.control_url}/sandbox/{path}"
        async with self.session.request(method, url, json=body) as response:
            return Response(response.status, await response.text())

    async def post_form(self, path: str, form: Mapping[str, str]) -> Response:
        """Post a form as a browser does, to the console."""
        async with self.session.post(f"{self.sandbox.control_url}{path}", data=form) as response:
            return Response(response.status, await response.text())
