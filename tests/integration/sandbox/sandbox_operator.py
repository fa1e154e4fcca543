"""Somebody at the sandbox's control API."""

from typing import Any

import aiohttp

from tests.integration.sandbox.sandbox_caller import Answer

__all__ = ["Operator"]


class Operator:
    """Sends what it is told to the control API."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, method: str, path: str, body: Any = None) -> Answer:
        async with self._session.request(method, path, json=body) as answer:
            return Answer(answer.status, await answer.text())
