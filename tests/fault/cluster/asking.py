"""D1 asks both edges, and handlers at both gateways answer: of one kind at each gateway, of another at one alone."""

import asyncio
import time
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

__all__ = ["IN_TIME_SECONDS", "Questions", "handlers"]

IN_TIME_SECONDS = 2.0 + 1.0
"""The deadline that a gateway ships with, and what a busy machine may add."""
_PAUSE_SECONDS = 0.1
_FALLBACK = 500
_OTP = {"otp": {"value": "004211"}}


class Questions:
    """Asks both edges for as long as it runs."""

    def __init__(self, edges: Sequence[EdgeClient], name: str) -> None:
        """Prepare.

        Args:
            edges: The ways to the edges.
            name: What the names of consumers begin with.
        """
        self.answered: Counter[str] = Counter()
        """By kind."""
        self.fallbacks: Counter[str] = Counter()
        """By kind."""
        self.cut_off: Counter[str] = Counter()
        """Of the questions that got no answer though an edge had taken them, or seemed to, by kind."""
        self.slowest_seconds = 0.0
        """From question to answer or fallback."""
        self._edges = edges
        self._name = name
        self._ending = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Ask for as long as the block lasts."""
        async with asyncio.TaskGroup() as tasks:
            for edge in range(len(self._edges)):
                tasks.create_task(self._repeat(GET_CONSUMER_INFORMATION, edge))
                tasks.create_task(self._repeat(DELIVER_OTP, edge))
            try:
                yield
            finally:
                self._ending.set()

    async def ask(self, call: Callback, edge: int) -> int | None:
        """Ask one edge; returns the status, None without an answer."""
        body = _OTP if call is DELIVER_OTP else None
        began = time.monotonic()
        try:
            answer = await self._edges[edge].call(
                call, {"consumerId": f"{self._name}-{edge}"}, correlation_id=f"{self._name}-{edge}", body=body
            )
        except NotDeliveredError as error:
            # Nobody listens: D1's load balancer sends it to another one.
            if not isinstance(error.__context__, aiohttp.ClientConnectorError):
                self.cut_off[call.name] += 1
            return None
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        if answer.status == _FALLBACK:
            self.fallbacks[call.name] += 1
        else:
            assert answer.status == call.success, f"{call.name} was answered {answer.status}"
            self.answered[call.name] += 1
        return answer.status

    async def _repeat(self, call: Callback, edge: int) -> None:
        while not self._ending.is_set():
            await self.ask(call, edge)
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def handlers(addresses: Sequence[str], pki: Pki) -> AsyncIterator[None]:
    """Have handlers for as long as the block lasts: one at each gateway, and one at the first that is there."""
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
