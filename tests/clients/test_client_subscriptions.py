"""Subscriptions through the client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from d1_gateway_client import AsyncGatewayClient, GatewayClient, errors
from d1_gateway_client.contracts.issuer.notification.v1 import (
    ListSubscriptionsRequest,
    ListSubscriptionsResponse,
    Subscription,
)
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from sandbox import Sandbox
from tests.clients.client_gateways import options_for, scripted

PAGES: tuple[list[str], ...] = (["audit", "billing"], [], ["fraud"])
"""A page may be empty although others follow."""


def _answers() -> list[Callable[[Any], Awaitable[bytes]]]:
    def answer(names: list[str], token: str) -> Callable[[Any], Awaitable[bytes]]:
        page = ListSubscriptionsResponse([Subscription(name=each) for each in names], next_page_token=token)

        async def send(_: Any) -> bytes:
            return bytes(page)

        return send

    return [answer(names, f"after-{number}" if number < len(PAGES) else "") for number, names in enumerate(PAGES, 1)]


@pytest.mark.parametrize("blocking", [False, True])
async def test_subscriptions_of_all_pages_are_iterated(sandbox: Sandbox, *, blocking: bool) -> None:
    async with scripted(sandbox.pki) as gateway:
        gateway.answers += _answers()
        options = options_for(gateway.address, sandbox.pki)
        if blocking:
            with GatewayClient(options) as client:
                listed = await asyncio.to_thread(lambda: list(client.notifications.subscriptions(issuer_id="x" * 10)))
        else:
            async with AsyncGatewayClient(options) as made:
                listed = [each async for each in made.notifications.subscriptions(issuer_id="x" * 10)]
        requests = gateway.requests(ListSubscriptionsRequest)

    assert [each.name for each in listed] == ["audit", "billing", "fraud"]
    assert [each.page_token for each in requests] == ["", "after-1", "after-2"]
    assert {each.issuer_id for each in requests} == {"x" * 10}


async def test_a_page_that_cannot_be_read_ends_the_iteration_with_its_error(sandbox: Sandbox) -> None:
    async with (
        scripted(sandbox.pki) as gateway,
        AsyncGatewayClient(options_for(gateway.address, sandbox.pki)) as client,
    ):
        gateway.answers += [_answers()[0], GatewayError(error_pb2.ERROR_REASON_PERMISSION_DENIED, "No.")]
        iterator = client.notifications.subscriptions()
        listed = [(await anext(iterator)).name for _ in PAGES[0]]
        with pytest.raises(errors.PermissionDeniedError):
            await anext(iterator)

    assert listed == PAGES[0]
