"""The part of the control API that rotates keys."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from sandbox.common.fields import InvalidFormatError, InvalidValueError, json_object, text
from sandbox.d1.model.keys import D1Keys, KeyRing

__all__ = ["KeyControl"]


@dataclass(frozen=True, slots=True)
class KeyControl:
    """The control API of the keys that D1 and the issuer exchanged."""

    ENDPOINTS: ClassVar[Mapping[str, str]] = {
        "GET /sandbox/keys": "",
        "POST /sandbox/keys/assertion": "the issuer's public JWK, with its kid",
        "DELETE /sandbox/keys/assertion/{kid}": "",
        "POST /sandbox/keys/encryption": "",
        "DELETE /sandbox/keys/encryption/{kid}": "",
    }
    """Each endpoint with its fields."""

    keys: D1Keys

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/sandbox/keys", self._list),
            web.post("/sandbox/keys/assertion", self._add_assertion_key),
            web.delete("/sandbox/keys/assertion/{kid}", self._remove_assertion_key),
            web.post("/sandbox/keys/encryption", self._make_encryption_key),
            web.delete("/sandbox/keys/encryption/{kid}", self._remove_encryption_key),
        ]

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"assertion": _shown(self.keys.assertion), "encryption": _shown(self.keys.encryption)})

    async def _add_assertion_key(self, request: web.Request) -> web.Response:
        self.keys.assertion.add(_public_key(json_object(await request.read())))
        return web.Response(status=204)

    async def _remove_assertion_key(self, request: web.Request) -> web.Response:
        self.keys.assertion.remove(request.match_info["kid"])
        return web.Response(status=204)

    async def _make_encryption_key(self, _: web.Request) -> web.Response:
        key = ECKey.generate_key("P-256", {"use": "enc", "kid": f"d1-encryption-{secrets.token_hex(4)}"})
        self.keys.encryption.add(key)
        return web.json_response(key.as_dict(private=False), status=201)

    async def _remove_encryption_key(self, request: web.Request) -> web.Response:
        self.keys.encryption.remove(request.match_info["kid"])
        return web.Response(status=204)


def _public_key(jwk: dict[str, Any]) -> ECKey:
    text(jwk, "kid")
    if jwk.get("kty") != "EC":
        raise InvalidValueError("kty")
    if "d" in jwk:
        raise InvalidValueError("d")
    try:
        key = ECKey.import_key(jwk)
    except (JoseError, KeyError, TypeError, ValueError):
        raise InvalidFormatError("JWK") from None
    if key.curve_name != "P-256":
        raise InvalidValueError("crv")
    return key


def _shown(keys: KeyRing) -> list[dict[str, Any]]:
    return [{"kid": kid, "lookups": lookups} for kid, lookups in keys.lookups.items()]
