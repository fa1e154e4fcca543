"""What D1 sends to the gateway's edge: notifications and their variants, with its certificate and its token."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Status
from sandbox.d1.callbacks.notifier import EdgeCredentials, NotDeliveredError
from sandbox.d1.model.notification import Notification, Variant, new_details, vary
from tests.integration.sandbox.sandbox_caller import Caller, ManualClock
from tests.integration.sandbox.sandbox_edge import Edge, EdgeServer, Reply, buy

SECOND = timedelta(seconds=1)


@pytest.fixture
def notification(stranger: Caller) -> Notification:
    start = datetime.fromtimestamp(stranger.clock.now, UTC)
    return Notification(stranger.card_id, "op-1", start, consumer_id="consumer-1", details=new_details())


@pytest.fixture
async def apart(tmp_path: Path, clock: ManualClock) -> AsyncIterator[tuple[Sandbox, EdgeServer]]:
    """A sandbox with an edge of its own, which fetches tokens there and waits two seconds for a response."""
    credentials = EdgeCredentials("d1", "\u00ff\u00ff?>secret", scope="notify")
    async with (
        Sandbox.start(tmp_path, clock=clock, edge_credentials=credentials, edge_timeout_seconds=2.0) as sandbox,
        EdgeServer().serve(sandbox) as server,
    ):
        sandbox.set_edge(server.url)
        yield sandbox, server


@pytest.mark.parametrize(
    ("variant", "steps", "changed"),
    [
        (Variant.PLAIN, [SECOND, SECOND], {}),
        (Variant.DUPLICATE, [timedelta(0)] * 2, {}),
        (Variant.OUT_OF_ORDER, [-SECOND, -SECOND], {}),
        (Variant.LATE, [SECOND, SECOND], {"startTime": "2027-01-15T07:00:00.000Z"}),
        (Variant.UNKNOWN_VALUES, [SECOND] * 2, {"operation": "3DS_UNKNOWN_OPERATION", "status": "UNKNOWN_STATUS"}),
        (Variant.UNKNOWN_FIELDS, [SECOND] * 2, {"unknownField": "of a later version"}),
    ],
)
async def test_a_series_of_notifications_varies_as_set(
    sandbox: Sandbox,
    edge: Edge,
    notification: Notification,
    variant: Variant,
    steps: list[timedelta],
    changed: dict[str, str],
) -> None:
    assert await sandbox.notifier.send_all(vary(variant, notification, 3)) == [204] * 3

    bodies = [call.body for call in edge.notifications]
    times = [datetime.fromisoformat(body["startTime"]) for body in bodies]
    assert [after - before for before, after in pairwise(times)] == steps
    assert len({body["operationId"] for body in bodies}) == (1 if variant is Variant.DUPLICATE else 3)
    first = min(bodies, key=lambda body: str(body["startTime"]))
    unknown = first["details"].pop("unknownDetail", None)
    assert (unknown is not None) is (variant is Variant.UNKNOWN_FIELDS)
    assert first == notification.body() | changed


async def test_a_notification_is_repeated_until_it_is_taken_or_refused_or_the_attempts_are_used_up(
    sandbox: Sandbox, edge: Edge, notification: Notification
) -> None:
    edge.replies["notification"] = [Reply(500), Reply(401), Reply(204), Reply(400), Reply(500)]

    assert await sandbox.notifier.send(notification, attempts=5, backoff_seconds=0.01) == 204
    assert len(edge.notifications) == 3
    assert await sandbox.notifier.send(notification, attempts=3, backoff_seconds=0.01) == 400
    assert len(edge.notifications) == 4
    assert await sandbox.notifier.send(notification, attempts=3, backoff_seconds=0.01) == 500
    assert len(edge.notifications) == 7


async def test_without_an_edge_of_its_own_authority_nothing_is_delivered_and_purchases_fail(
    tmp_path: Path, edge_server: EdgeServer, edge: Edge, notification: Notification
) -> None:
    async with Sandbox.start(tmp_path) as sandbox:
        with pytest.raises(NotDeliveredError, match="No edge is set"):
            await sandbox.notifier.send(notification)
        purchase = buy(sandbox, "n1", Flow.SMS_OTP_ISSUER)
        assert (await purchase.done(), purchase.error) == (Status.FAILED, "No edge is set")

        with socket.create_server(("127.0.0.1", 0)) as unused:
            sandbox.set_edge(f"https://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(NotDeliveredError, match="ClientConnectorError"):
            await sandbox.notifier.send(notification, attempts=2, backoff_seconds=0.01)

        for others in ((), ("https://127.0.0.1:9",)):
            sandbox.set_edge(edge_server.url, *others)
            with pytest.raises(NotDeliveredError, match="Certificate"):
                await sandbox.notifier.send(notification)
    assert edge.notifications == []


async def test_an_edge_that_takes_too_long_fails_the_purchase_which_is_notified(
    apart: tuple[Sandbox, EdgeServer],
) -> None:
    sandbox, server = apart
    edge = server.edges["n1"]
    edge.replies["otp"] = [Reply(204, delay_seconds=30)]

    purchase = buy(sandbox, "n1", Flow.SMS_OTP_ISSUER)

    assert await purchase.done() is Status.FAILED
    assert (purchase.error or "").startswith("The edge did not respond: ")
    assert ([call.status for call in purchase.calls], (await purchase.notified()).status) == ([None], 204)
    sent = [*edge.callbacks, *edge.notifications]
    assert [call.headers["Authorization"] for call in sent] == ["Bearer edge-token"] * 2
    assert len(server.token_requests) == 1, "callback requests and notifications share a token"


async def test_a_bearer_token_is_fetched_in_base64url_once_until_it_expires_or_is_refused(
    apart: tuple[Sandbox, EdgeServer], stranger: Caller, notification: Notification
) -> None:
    sandbox, server = apart
    edge = server.edges[stranger.name]

    assert await asyncio.gather(*(sandbox.notifier.send(notification) for _ in range(5))) == [204] * 5
    # "d1:" and the secret in UTF-8; plain base64 would have "/" and "+" where this has "_" and "-".
    assert server.token_requests == [
        ("Basic ZDE6w7_Dvz8-c2VjcmV0", {"grant_type": "client_credentials", "scope": "notify"})
    ]
    stranger.clock.now += 60
    edge.replies["notification"] = [Reply(401), Reply(204)]
    assert await sandbox.notifier.send(notification) == 401
    assert len(server.token_requests) == 2
    assert await sandbox.notifier.send(notification) == 204
    assert len(server.token_requests) == 3


async def test_without_a_bearer_token_nothing_is_delivered(
    apart: tuple[Sandbox, EdgeServer], stranger: Caller, notification: Notification
) -> None:
    sandbox, server = apart

    replies: tuple[object, ...] = ({}, [], {"access_token": "x", "token_type": "mac"}, {"token_type": "Bearer"})
    for reply in replies:
        server.token_reply = reply
        with pytest.raises(NotDeliveredError, match="issued no"):
            await sandbox.notifier.send(notification)
    assert server.edges[stranger.name].notifications == []
