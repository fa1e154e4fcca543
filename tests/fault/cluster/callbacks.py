"""D1 sends callbacks to both edges: one kind has handlers at both gateways, another kind at one only."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from d1_gateway_client import AsyncGatewayClient, CallbackContext, CallbackHandler, Options
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
        self._edges = edges
        self._name = name
        self._ending = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Send callbacks for the duration of the block."""
        async with asyncio.TaskGroup() as tasks:
            for edge in range(len(self._edges)):
                tasks.create_task(self._repeat(GET_CONSUMER_INFORMATION, edge))
                tasks.create_task(self._repeat(DELIVER_OTP, edge))
            try:
                yield
            finally:
                self._ending.set()

    async def call(self, call: Callback, edge: int) -> int | None:
        """Send a callback to one edge; return the status, None without a response."""
        body = _OTP if call is DELIVER_OTP else None
        try:
            response = await self._edges[edge].call(
                call, {"consumerId": f"{self._name}-{edge}"}, correlation_id=f"{self._name}-{edge}", body=body
            )
        except NotDeliveredError as error:
            # Connection refused: D1's load balancer uses the other edge.
            if not isinstance(error.__context__, aiohttp.ClientConnectorError):
                self.interrupted[call.name] += 1
            return None
        if response.status == _FALLBACK:
            self.fallbacks[call.name] += 1
        else:
            assert response.status == call.success, f"{call.name} got HTTP {response.status}"
        return response.status

    async def _repeat(self, call: Callback, edge: int) -> None:
        while not self._ending.is_set():
            await self.call(call, edge)
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def handlers(addresses: Sequence[str], pki: Pki) -> AsyncIterator[None]:
    """Run handlers for the duration of the block: one at each gateway, and one at the first available gateway."""
    async with AsyncExitStack() as stack:
        for number, address in enumerate(addresses):
            informing = CallbackHandler(f"informing-{number}")
            informing.consumer_information(_inform)
            client = await stack.enter_async_context(AsyncGatewayClient(_options(address, pki)))
            await stack.enter_async_context(informing.serving(client))
        sending = CallbackHandler("sending")
        sending.deliver_otp(_send)
        client = await stack.enter_async_context(AsyncGatewayClient(_options(f"ipv4:{','.join(addresses)}", pki)))
        await stack.enter_async_context(sending.serving(client))
        yield


async def _inform(request: ConsumerInformationRequest, context: CallbackContext) -> ConsumerInformationResponse:
    del request, context
    return ConsumerInformationResponse(personal_information=PersonalInformation(language="en-GB", first_name="Zoe"))


async def _send(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
    del request, context
    return DeliverOtpResponse()


def _options(address: str, pki: Pki) -> Options:
    return Options(
        address=address,
        ca_file=pki.server_ca,
        certificate_file=pki.caller.certificate,
        key_file=pki.caller.key,
        server_name="localhost",
    )
