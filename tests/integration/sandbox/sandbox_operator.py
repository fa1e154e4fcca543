"""A client of the sandbox's control API."""

from typing import Any

import aiohttp

from tests.integration.sandbox.sandbox_caller import Response

__all__ = ["Operator"]


class Operator:
    """Sends requests to the control API."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, method: str, path: str, body: Any = None) -> Response:
        async with self._session.request(method, path, json=body) as response:
            return Response(response.status, await response.text())
