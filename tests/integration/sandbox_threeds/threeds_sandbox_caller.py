"""A client of the simulated 3-D Secure server, and of the ACS behind it."""

from typing import Any

import aiohttp

from adapters.threeds.codec import encode
from issuer.threeds.v1 import codes_pb2
from sandbox import Sandbox
from sandbox.threeds.validation import Problem, Scene, problems
from tests.contract.areqs import an_areq, pan_of
from tests.integration.sandbox.sandbox_caller import ManualClock, Response
from tests.integration.sandbox_threeds.threeds_sandbox_browser import Browser, Page, pack

__all__ = ["APP", "BROWSER", "REQUESTOR", "UNKNOWN_ID", "ThreeDSCaller", "broken", "decoupled", "make_areq"]

APP, BROWSER, REQUESTOR = "01", "02", "03"
UNKNOWN_ID = "8a880dc0-d2d2-4067-bcb1-b08d1690b26e"

_CHANNELS = {
    APP: codes_pb2.DEVICE_CHANNEL_APP,
    BROWSER: codes_pb2.DEVICE_CHANNEL_BROWSER,
    REQUESTOR: codes_pb2.DEVICE_CHANNEL_REQUESTOR_INITIATED,
}


def make_areq(version: str, pan: str, channel: str = BROWSER, **changes: Any) -> dict[str, Any]:
    """Return an AReq as JSON, without an id unless given. A change to None removes a field."""
    areq = encode(an_areq(version, pan, _CHANNELS[channel]), version) | changes
    return {name: value for name, value in areq.items() if value is not None}


def decoupled(minutes: int = 5, indicator: str = "Y") -> dict[str, str]:
    """Return the fields of an AReq that request decoupled authentication."""
    return {"threeDSRequestorDecReqInd": indicator, "threeDSRequestorDecMaxTime": f"{minutes:05}"}


def broken(message: dict[str, Any], version: str, channel: str = BROWSER) -> list[Problem]:
    """Return what a message of the server breaks of its own rules."""
    return problems(message, message["messageType"], Scene(version, channel))


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

    async def preauth(self, ending: str, **more: Any) -> Any:
        return await self.call("/preauth", {"acctNumber": pan_of(ending)} | more)

    async def auth(self, version: str, ending: str, channel: str = BROWSER, **changes: Any) -> Any:
        """Call /preauth and then /auth, with the former's id unless another one is given."""
        if "threeDSServerTransID" not in changes:
            changes["threeDSServerTransID"] = (await self.preauth(ending))["threeDSServerTransID"]
        return await self.call("/auth", make_areq(version, pan_of(ending), channel, **changes))

    async def postauth(self, trans_id: str) -> Any:
        return await self.call("/postauth", {"threeDSServerTransID": trans_id})

    async def begin_challenge(self, ares: Any, session_data: str | None = None, **changes: Any) -> Page:
        """Post the CReq to the URL of the ARes."""
        creq = {name: ares[name] for name in ("threeDSServerTransID", "acsTransID", "messageVersion")}
        fields = {"creq": pack(creq | {"messageType": "CReq", "challengeWindowSize": "05"} | changes)}
        if session_data is not None:
            fields["threeDSSessionData"] = session_data
        return await self.browser.post(ares.get("acsURL", "/acs/challenge"), fields)
