"""A client of the simulated 3-D Secure server, and of the ACS behind it."""

from typing import Any

import aiohttp

from sandbox import Sandbox
from tests.integration.sandbox.sandbox_caller import ManualClock, Response
from tests.integration.sandbox_threeds.threeds_sandbox_areq import BROWSER, make_areq
from tests.integration.sandbox_threeds.threeds_sandbox_browser import Browser, Page, pack

__all__ = ["RANGES", "ThreeDSCaller", "pan_of", "version_digit"]

RANGES = {"0": ("2.1.0", "2.2.0", "2.3.1"), "1": ("2.1.0",), "2": ("2.2.0",), "3": ("2.3.1",)}


def pan_of(ending: str) -> str:
    return f"900010011111{ending}"


def version_digit(version: str) -> str:
    """The first of the last four digits for a card with one version only."""
    return {"2.1.0": "1", "2.2.0": "2", "2.3.1": "3"}[version]


class ThreeDSCaller:
    """Calls as the gateway and a cardholder's browser do."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession, clock: ManualClock) -> None:
        self.sandbox = sandbox
        self.session = session
        self.clock = clock
        self.browser = Browser(session, sandbox.threeds_url)

    async def send(self, method: str, path: str, **arguments: Any) -> Response:
        headers = {"APIKey": self.sandbox.threeds_api_key} | arguments.pop("headers", {})
        url = self.sandbox.threeds_url + path
        async with self.session.request(method, url, headers=headers, **arguments) as response:
            return Response(response.status, await response.text())

    async def call(self, path: str, message: dict[str, Any]) -> Any:
        response = await self.send("POST", path, json=message)
        assert response.status == 200
        return response.json

    async def preauth(self, pan: str, **more: Any) -> Any:
        return await self.call("/preauth", {"acctNumber": pan} | more)

    async def auth(self, version: str, ending: str, channel: str = BROWSER, **changes: Any) -> Any:
        """Call /preauth and then /auth, with the former's id unless another one is given."""
        pan = pan_of(ending)
        if "threeDSServerTransID" not in changes:
            changes["threeDSServerTransID"] = (await self.preauth(pan))["threeDSServerTransID"]
        return await self.call("/auth", make_areq(version, pan, channel, **changes))

    async def postauth(self, trans_id: str) -> Any:
        return await self.call("/postauth", {"threeDSServerTransID": trans_id})

    async def begin_challenge(self, ares: Any, session_data: str | None = None, **changes: Any) -> Page:
        """Post the CReq to the URL of the ARes."""
        creq = {name: ares[name] for name in ("threeDSServerTransID", "acsTransID", "messageVersion")}
        fields = {"creq": pack(creq | {"messageType": "CReq", "challengeWindowSize": "05"} | changes)}
        if session_data is not None:
            fields["threeDSSessionData"] = session_data
        return await self.browser.post(ares["acsURL"], fields)
