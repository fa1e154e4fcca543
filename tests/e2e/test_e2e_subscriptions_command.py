import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import pytest

from d1_gateway_client import AsyncGatewayClient, Options
from d1_gateway_client.contracts.issuer.notification.v1 import DeleteSubscriptionRequest
from d1_gateway_client.errors import NotAllowedError
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
        await _left(client)
        async for each in client.notifications.subscriptions():
            await client.notifications.delete_subscription(DeleteSubscriptionRequest(subscription=each.name))


async def _left(client: AsyncGatewayClient) -> None:
    """Wait until nobody watches."""
    while [each async for each in client.notifications.subscriptions() if each.watcher_count]:
        pass


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


async def test_one_subscription_is_shown_as_in_the_list(caller: Mapping[str, str]) -> None:
    for name in ("fraud", "audit"):
        await _printed(caller, name)
    listed = await invoked(CLIENT, "subscriptions", "list", environment=caller)
    listed_lines = await invoked(CLIENT, "subscriptions", "list", "--json", environment=caller)

    shown = await invoked(CLIENT, "subscriptions", "show", "fraud", environment=caller)
    line = await invoked(CLIENT, "subscriptions", "show", "fraud", "--json", environment=caller)
    unknown = await invoked(CLIENT, "subscriptions", "show", "nobody", environment=caller)

    header, _, fraud = listed.stdout.splitlines()
    assert (shown.status, shown.stdout.splitlines()) == (0, [header, fraud])
    assert line.stdout.splitlines() == listed_lines.stdout.splitlines()[1:]
    assert "SUBSCRIPTION_NOT_FOUND" in unknown.only_line(1)


async def _watched(caller: Mapping[str, str], name: str) -> list[str]:
    """Return the operations that a subscription prints to the end of the log."""
    command = await invoked(CLIENT, "watch", "--subscription", name, "--no-follow", "--json", environment=caller)
    assert (command.status, command.stderr) == (0, "")
    return [json.loads(line)["threeDSOperation"]["operationId"] for line in command.stdout.splitlines()]


async def test_a_subscription_is_reset_to_what_is_named_and_watched_from_there(caller: Mapping[str, str]) -> None:
    lines = (await invoked(CLIENT, "watch", "--from-start", "--no-follow", "--json", environment=caller)).stdout
    cursors = [json.loads(line)["cursor"] for line in lines.splitlines()]
    for target, left in (
        (("--from-start",), _SENT),
        (("--latest",), ()),
        (("--after", cursors[1]), _SENT[2:]),
        (("--since", "1h"), _SENT),
    ):
        command = await invoked(CLIENT, "subscriptions", "reset", "fraud", *target, environment=caller)
        assert (command.status, command.stderr) == (0, "")
        assert command.stdout.strip() == (cursors[-len(left) - 1] if len(left) < 3 else f"{cursors[0][:8]}-0")
        assert await _watched(caller, "fraud") == list(left)


async def test_a_watch_that_starts_elsewhere_than_its_subscription_is_told_what_to_do(
    caller: Mapping[str, str],
) -> None:
    await _printed(caller, "fraud")
    watch = ("watch", "--subscription", "fraud", "--no-follow")

    for start in (("--from-start",), ("--since", "1h")):
        line = (await invoked(CLIENT, *watch, *start, environment=caller)).mistakes[-1]
        assert "SUBSCRIPTION_STARTED" in line
        assert "ResetSubscription" in line
    assert await _watched(caller, "fraud") == []


async def test_a_subscription_is_deleted(caller: Mapping[str, str]) -> None:
    await _printed(caller, "fraud")
    delete = ("subscriptions", "delete", "fraud")

    first = await invoked(CLIENT, *delete, environment=caller)
    second = await invoked(CLIENT, *delete, environment=caller)

    assert (first.status, first.stdout, first.stderr) == (0, "", "")
    assert "SUBSCRIPTION_NOT_FOUND" in second.only_line(1)


async def test_a_subscription_with_an_active_watcher_is_reset_by_its_fencing_token(caller: Mapping[str, str]) -> None:
    reset = ("subscriptions", "reset", "fraud", "--from-start")
    async with (
        AsyncGatewayClient(Options.from_environment(caller)) as client,
        client.notifications.watch(subscription="fraud", heartbeat_seconds=0.1) as watch,
    ):
        waiting = asyncio.create_task(anext(watch))
        while not watch.fencing_token:  # noqa: ASYNC110 (a watch sends no event)
            await asyncio.sleep(0.05)
        refused = await invoked(CLIENT, *reset, environment=caller)
        moved = await invoked(CLIENT, *reset, "--fencing-token", str(watch.fencing_token), environment=caller)
        with pytest.raises(NotAllowedError, match="FENCING_TOKEN_STALE"):
            await watch.commit()
        waiting.cancel()
    async with AsyncGatewayClient(Options.from_environment(caller)) as client:
        await _left(client)

    assert "SUBSCRIPTION_IN_USE" in refused.only_line(1)
    assert (moved.status, moved.stderr) == (0, "")
    assert await _watched(caller, "fraud") == list(_SENT)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--from-start"),
        (("--from-start", "--latest"), "--latest"),
        (("--since", "10"), "--since"),
    ],
)
async def test_a_target_that_cannot_be_used_is_one_line_that_names_it(arguments: tuple[str, ...], named: str) -> None:
    assert named in (await invoked(CLIENT, "subscriptions", "reset", "fraud", *arguments)).only_line(2)


@pytest.mark.parametrize("arguments", [("list",), ("reset", "fraud", "--latest"), ("delete", "fraud")])
async def test_a_refusal_is_one_line(arguments: tuple[str, ...], caller: Mapping[str, str]) -> None:
    refused = await invoked(CLIENT, "subscriptions", *arguments, "--issuer", "SHORT", environment=caller)
    away = await invoked(CLIENT, "subscriptions", *arguments, "--address", "127.0.0.1:9")

    assert "INVALID_REQUEST" in refused.mistakes[-1]
    assert (refused.status, len(refused.mistakes)) == (1, 1)
    assert "Connection refused" in away.mistakes[-1]
    assert (away.status, len(away.mistakes)) == (1, 1)
