import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.d1.callbacks.notifier import EdgeCredentials, NotDeliveredError
from sandbox.d1.model.notification import Notification, Variant, new_details, vary
from tests.integration.sandbox.sandbox_caller import ManualClock
from tests.integration.sandbox.sandbox_edge import Edge

START = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
NOTIFICATION = Notification(
    card_id="card-1",
    operation_id="op-1",
    start_time=START,
    consumer_id="consumer-1",
    details=new_details(),
)


@pytest.fixture
async def with_oauth(tmp_path: Path, clock: ManualClock) -> AsyncIterator[tuple[Sandbox, Edge]]:
    """A sandbox that fetches tokens from the edge."""
    credentials = EdgeCredentials("d1", "\u00ff\u00ff?>secret", scope="notify")
    async with (
        Sandbox.start(tmp_path, clock=clock, edge_credentials=credentials) as sandbox,
        Edge().serve(sandbox) as edge,
    ):
        sandbox.set_edge(edge.url)
        yield sandbox, edge


async def test_a_notification_reaches_the_edge_under_its_path_with_d1s_certificate(
    sandbox: Sandbox, edge: Edge
) -> None:
    status = await sandbox.notifier.send(NOTIFICATION)

    (received,) = edge.received
    assert status == 204
    assert received.path == "/notifications/d1/v1/issuers/SANDBOX001/cards/card-1/3ds/notifications"
    assert received.client == "D1 sandbox client"
    assert received.authorization is None


async def test_a_notification_has_the_fields_of_the_contract(sandbox: Sandbox, edge: Edge) -> None:
    await sandbox.notifier.send(NOTIFICATION)

    assert edge.received[0].body == {
        "operationId": "op-1",
        "operation": "3DS_CHALLENGE_OOB",
        "status": "SUCCESSFUL",
        "startTime": "2027-01-15T08:00:00.000Z",
        "consumerId": "consumer-1",
        "details": NOTIFICATION.details,
    }
    assert NOTIFICATION.details.keys() == {"acsTransactionId", "threeDSServerTransId"}


async def test_a_failure_is_notified_with_its_error_and_without_unknown_fields(sandbox: Sandbox, edge: Edge) -> None:
    failure = Notification("card-1", "op-1", START, status="FAILED", error="Wrong OTP")

    await sandbox.notifier.send(failure)

    body = edge.received[0].body
    assert (body["status"], body["error"]) == ("FAILED", "Wrong OTP")
    assert "consumerId" not in body


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500, 503])
async def test_the_edges_status_is_returned(sandbox: Sandbox, edge: Edge, status: int) -> None:
    edge.statuses = [status]

    assert await sandbox.notifier.send(NOTIFICATION) == status
    assert len(edge.received) == 1


async def test_a_duplicate_is_the_same_notification_again(sandbox: Sandbox, edge: Edge) -> None:
    statuses = await sandbox.notifier.send_all(vary(Variant.DUPLICATE, NOTIFICATION, 3))

    assert statuses == [204, 204, 204]
    assert [received.body for received in edge.received] == [NOTIFICATION.body()] * 3


async def test_plain_notifications_are_of_operations_of_their_own_in_order(sandbox: Sandbox, edge: Edge) -> None:
    await sandbox.notifier.send_all(vary(Variant.PLAIN, NOTIFICATION, 3))

    times = [received.body["startTime"] for received in edge.received]
    assert len({received.body["operationId"] for received in edge.received}) == 3
    assert times == sorted(set(times))


async def test_out_of_order_notifications_come_with_the_newest_operation_first(sandbox: Sandbox, edge: Edge) -> None:
    await sandbox.notifier.send_all(vary(Variant.OUT_OF_ORDER, NOTIFICATION, 3))

    times = [received.body["startTime"] for received in edge.received]
    assert len({received.body["operationId"] for received in edge.received}) == 3
    assert times == sorted(set(times), reverse=True)


async def test_a_late_notification_is_of_an_operation_long_past(sandbox: Sandbox, edge: Edge) -> None:
    await sandbox.notifier.send_all(vary(Variant.LATE, NOTIFICATION, 1))

    start = datetime.fromisoformat(edge.received[0].body["startTime"])
    assert start == START - timedelta(hours=1)


async def test_unknown_fields_stand_at_the_top_and_in_the_details(sandbox: Sandbox, edge: Edge) -> None:
    await sandbox.notifier.send_all(vary(Variant.UNKNOWN_FIELDS, NOTIFICATION, 1))

    body = edge.received[0].body
    assert body.keys() - NOTIFICATION.body().keys() == {"unknownField"}
    assert body["details"].keys() - NOTIFICATION.details.keys() == {"unknownDetail"}


async def test_unknown_values_stand_for_the_operation_and_the_status(sandbox: Sandbox, edge: Edge) -> None:
    await sandbox.notifier.send_all(vary(Variant.UNKNOWN_VALUES, NOTIFICATION, 1))

    body = edge.received[0].body
    assert body["operation"] == "3DS_UNKNOWN_OPERATION"
    assert body["status"] == "UNKNOWN_STATUS"


async def test_a_notification_is_repeated_until_it_is_accepted_if_requested(sandbox: Sandbox, edge: Edge) -> None:
    edge.statuses = [500, 401]

    assert await sandbox.notifier.send(NOTIFICATION, attempts=5, backoff_seconds=0.01) == 204
    assert len(edge.received) == 3


async def test_repetition_ends_with_the_last_response(sandbox: Sandbox, edge: Edge) -> None:
    edge.statuses = [500] * 5

    assert await sandbox.notifier.send(NOTIFICATION, attempts=3, backoff_seconds=0.01) == 500
    assert len(edge.received) == 3


async def test_without_an_edge_nothing_is_delivered(sandbox: Sandbox) -> None:
    with pytest.raises(NotDeliveredError, match="No edge is set"):
        await sandbox.notifier.send(NOTIFICATION)


async def test_an_edge_that_is_down_is_distinguished_from_one_that_responds(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    sandbox.set_edge(f"https://127.0.0.1:{port}")

    with pytest.raises(NotDeliveredError, match="ClientConnectorError"):
        await sandbox.notifier.send(NOTIFICATION, attempts=2, backoff_seconds=0.01)


async def test_an_edge_that_is_down_is_passed_over_if_another_is_known(
    with_oauth: tuple[Sandbox, Edge],
) -> None:
    sandbox, edge = with_oauth
    async with Edge().serve(sandbox) as first:
        sandbox.set_edge(first.url, edge.url)
        assert await sandbox.notifier.send(NOTIFICATION) == 204
        assert (len(first.received), len(edge.received)) == (1, 0)

    assert await sandbox.notifier.send(NOTIFICATION) == 204

    assert (len(first.received), len(edge.received)) == (1, 1)
    assert edge.token_requests == [], "the first edge's token works at the other"


async def test_an_edge_with_a_certificate_of_another_authority_gets_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "other") as other, Edge().serve(other) as stranger:
        sandbox.set_edge(stranger.url)

        with pytest.raises(NotDeliveredError, match="Certificate"):
            await sandbox.notifier.send(NOTIFICATION)
        sandbox.set_edge(stranger.url, "https://127.0.0.1:9")
        with pytest.raises(NotDeliveredError, match="Certificate"):
            await sandbox.notifier.send(NOTIFICATION)
        assert stranger.received == []


async def test_a_bearer_token_is_fetched_with_basic_credentials_in_base64url(
    with_oauth: tuple[Sandbox, Edge],
) -> None:
    sandbox, edge = with_oauth

    assert await sandbox.notifier.send(NOTIFICATION) == 204

    assert edge.received[0].authorization == "Bearer edge-token"
    # "d1:" and the secret in UTF-8; plain base64 would have "/" and "+" where this has "_" and "-".
    assert edge.token_requests == [
        ("Basic ZDE6w7_Dvz8-c2VjcmV0", {"grant_type": "client_credentials", "scope": "notify"})
    ]


async def test_a_bearer_token_is_used_until_it_expires(with_oauth: tuple[Sandbox, Edge], clock: ManualClock) -> None:
    sandbox, edge = with_oauth

    for _ in range(3):
        await sandbox.notifier.send(NOTIFICATION)
    fetched_first = len(edge.token_requests)
    clock.now += 60
    await sandbox.notifier.send(NOTIFICATION)

    assert (fetched_first, len(edge.token_requests)) == (1, 2)


async def test_notifications_at_the_same_time_fetch_one_bearer_token(with_oauth: tuple[Sandbox, Edge]) -> None:
    sandbox, edge = with_oauth

    statuses = await asyncio.gather(*(sandbox.notifier.send(NOTIFICATION) for _ in range(5)))

    assert statuses == [204] * 5
    assert len(edge.token_requests) == 1


async def test_a_refused_bearer_token_is_not_used_again(with_oauth: tuple[Sandbox, Edge]) -> None:
    sandbox, edge = with_oauth
    edge.statuses = [401]

    statuses = [await sandbox.notifier.send(NOTIFICATION) for _ in range(2)]

    assert statuses == [401, 204]
    assert len(edge.token_requests) == 2


@pytest.mark.parametrize("response", [{}, [], {"access_token": "x", "token_type": "mac"}, {"token_type": "Bearer"}])
async def test_without_a_bearer_token_nothing_is_delivered(with_oauth: tuple[Sandbox, Edge], response: object) -> None:
    sandbox, edge = with_oauth
    edge.token_answer = response

    with pytest.raises(NotDeliveredError, match="issued no"):
        await sandbox.notifier.send(NOTIFICATION)
    assert edge.received == []
