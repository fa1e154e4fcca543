"""D1 sends callbacks to both edges: one kind has handlers at both gateways, another kind at one only."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import aiohttp

from d1_gateway_client import AsyncGatewayClient, CallbackContext, CallbackHandler
from d1_gateway_client.contracts.issuer.callback.v1 import (
    ConsumerInformationRequest,
    ConsumerInformationResponse,
    DeliverOtpRequest,
    DeliverOtpResponse,
)
from d1_gateway_client.contracts.issuer.consumer.v1 import PersonalInformation
from sandbox.common.pki import Pki
from sandbox.d1.callbacks.edge_client import EdgeClient, NotDeliveredError
from sandbox.d1.model.contract import DELIVER_OTP, GET_CONSUMER_INFORMATION, Callback
from tests.clients.client_gateways import options_for
from tests.fault.processes import during

__all__ = ["Callbacks", "handlers"]

_PAUSE_SECONDS = 0.2
_FALLBACK = 500
_OTP = {"otp": {"value": "004211"}}


class Callbacks:
    """Sends callbacks to both edges while it runs."""

    def __init__(self, edges: Sequence[EdgeClient], name: str) -> None:
        self.fallbacks: Counter[str] = Counter()
        """The fallbacks, by kind."""
        self.interrupted: Counter[str] = Counter()
        """The callbacks without a response in time after an edge accepted the connection, by kind."""
        self.crossed_count = 0
        """The callbacks that were sent while an edge closed their idle connection (RFC 9112 section 9.5)."""
        self._edges = edges
        self._name = name

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Send callbacks for the duration of the block."""
        calls = itertools.product((GET_CONSUMER_INFORMATION, DELIVER_OTP), range(len(self._edges)))
        async with during(*(partial(self._repeat, *each) for each in calls)):
            yield

    async def call(self, call: Callback, edge: int) -> int | None:
        """Send a callback to one edge; return the status, None without a response."""
        body = _OTP if call is DELIVER_OTP else None
        try:
            response = await self._edges[edge].call(
                call, {"consumerId": f"{self._name}-{edge}"}, correlation_id=f"{self._name}-{edge}", body=body
            )
        except NotDeliveredError as error:
            # Connection refused: D1's load balancer uses the other edge.
            if isinstance(error.__context__, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
                self.crossed_count += not isinstance(error.__context__, aiohttp.ClientConnectorError)
            else:
                self.interrupted[call.name] += 1
            return None
        if response.status == _FALLBACK:
            self.fallbacks[call.name] += 1
        else:
            assert response.status == call.success, f"{call.name} got HTTP {response.status}"
        return response.status

    async def _repeat(self, call: Callback, edge: int, ending: asyncio.Event) -> None:
        while not ending.is_set():
            await self.call(call, edge)
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def handlers(addresses: Sequence[str], pki: Pki) -> AsyncIterator[None]:
    """Run handlers for the duration of the block: one at each gateway, and one at the first available gateway."""
    async with AsyncExitStack() as stack:
        for address in (*addresses, f"ipv4:{','.join(addresses)}"):
            handler = CallbackHandler("handler")
            if address in addresses:
                handler.consumer_information(_inform)
            else:
                handler.deliver_otp(_send)
            options = options_for(address, pki, server_name="localhost")
            client = await stack.enter_async_context(AsyncGatewayClient(options))
            await stack.enter_async_context(handler.serving(client))
        yield


async def _inform(request: ConsumerInformationRequest, context: CallbackContext) -> ConsumerInformationResponse:
    del request, context
    return ConsumerInformationResponse(personal_information=PersonalInformation(language="en-GB", first_name="Zoe"))


async def _send(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
    del request, context
    return DeliverOtpResponse()
