import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import pytest

from d1_gateway_client import AsyncGatewayClient, Options
from d1_gateway_client.contracts.issuer.notification.v1 import DeleteSubscriptionRequest
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification
from tests.e2e.command import CLIENT, invoked

_SENT = ("op_1", "op_2", "op_3")


@pytest.fixture(scope="module", autouse=True)
async def _notified(shared_sandbox: Sandbox, caller: Mapping[str, str]) -> None:
    del caller  # It starts the gateway.
    for each in _SENT:
        assert await shared_sandbox.notifier.send(Notification("card_1", each, datetime.now(UTC))) == 204


@pytest.fixture(autouse=True)
async def _none_left(caller: Mapping[str, str]) -> AsyncIterator[None]:
    yield
    async with AsyncGatewayClient(Options.from_environment(caller)) as client:
        async for each in client.notifications.subscriptions():
            await client.notifications.delete_subscription(DeleteSubscriptionRequest(subscription=each.name))


async def _printed(caller: Mapping[str, str], name: str) -> None:
    """Have a subscription print, and so commit, the whole log."""
    watch = ("watch", "--subscription", name, "--from-start", "--no-follow")
    assert (await invoked(CLIENT, *watch, environment=caller)).status == 0


async def test_subscriptions_are_listed_as_a_table_and_as_json(caller: Mapping[str, str]) -> None:
    nothing = await invoked(CLIENT, "subscriptions", "list", environment=caller)
    for name in ("fraud", "audit"):
        await _printed(caller, name)
    table = await invoked(CLIENT, "subscriptions", "list", environment=caller)
    lines = await invoked(CLIENT, "subscriptions", "list", "--json", environment=caller)

    assert [line.split() for line in nothing.stdout.splitlines()] == [
        ["NAME", "LAG", "WATCHERS", "COMMITTED", "CURSOR"]
    ]
    listed = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [each["name"] for each in listed] == ["audit", "fraud"]
    rows = [line.split() for line in table.stdout.splitlines()]
    assert rows[1:] == [[each["name"], "0", "0", each["commitTime"], each["committedCursor"]] for each in listed]


@pytest.mark.parametrize("arguments", [("list",)])
async def test_a_refusal_is_one_line(arguments: tuple[str, ...], caller: Mapping[str, str]) -> None:
    refused = await invoked(CLIENT, "subscriptions", *arguments, "--issuer", "SHORT", environment=caller)
    away = await invoked(CLIENT, "subscriptions", *arguments, "--address", "127.0.0.1:9")

    assert "INVALID_REQUEST" in refused.mistakes[-1]
    assert (refused.status, len(refused.mistakes)) == (1, 1)
    assert "Connection refused" in away.mistakes[-1]
    assert (away.status, len(away.mistakes)) == (1, 1)
