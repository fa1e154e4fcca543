"""The part of the control API that shows and changes what the sandbox's own handler answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from sandbox.common.fields import InvalidFormatError, InvalidValueError, json_object
from sandbox.issuer import Issuer

__all__ = ["IssuerControl"]


@dataclass(frozen=True, slots=True)
class IssuerControl:
    """The control API of the sandbox's own handler."""

    ENDPOINTS: ClassVar[Mapping[str, str]] = {
        "GET /sandbox/handler": "",
        "POST /sandbox/handler": "kinds: what it answers; all if omitted",
        "DELETE /sandbox/handler/{kind}": "",
    }
    """Each endpoint with its fields."""

    issuer: Issuer

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/sandbox/handler", self._show),
            web.post("/sandbox/handler", self._answer),
            web.delete("/sandbox/handler/{kind}", self._leave),
        ]

    async def _show(self, _: web.Request) -> web.Response:
        return self._shown()

    async def _answer(self, request: web.Request) -> web.Response:
        kinds = json_object(await request.read()).get("kinds", self.issuer.all_kinds)
        if not isinstance(kinds, list | tuple):
            raise InvalidFormatError("kinds")
        if not all(kind in self.issuer.all_kinds for kind in kinds):
            raise InvalidValueError("kinds")
        await self.issuer.answer(kinds)
        return self._shown()

    async def _leave(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind not in self.issuer.all_kinds:
            raise InvalidValueError("kind")
        await self.issuer.answer(each for each in self.issuer.kinds if each != kind)
        return self._shown()

    def _shown(self) -> web.Response:
        return web.json_response({"kinds": self.issuer.kinds, "registered": self.issuer.answered})
