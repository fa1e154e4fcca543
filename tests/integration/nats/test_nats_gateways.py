"""Gateways in this process with a shared storage, over a real server."""

import asyncio
import uuid
from pathlib import Path

import pytest

from adapters.nats.connection.connection import Connection
from adapters.nats.jetstream.jetstream import api_request
from gateway import bootstrap
from gateway.bootstrap.trials import tried
from gateway.settings import Settings, SettingsError
from issuer.card.v1 import messages_pb2 as card
from issuer.notification.v1 import messages_pb2 as notification
from sandbox import Sandbox
from sandbox.nats import NatsServer
from tests.contract.card_rpcs import changed
from tests.contract.watching import EARLIEST, notify, watching
from tests.integration.nats.nats_gateways import Gateways, sharing_settings
from tests.integration.nats.nats_storages import NO_SERVER
from tests.integration.telemetry.operator_view import OperatorView
from tests.running import Running, edge_session, failure_of, running_gateway


@pytest.fixture
def sandbox(gateways: Gateways) -> Sandbox:
    return gateways.there.sandbox


@pytest.fixture
def pair(gateways: Gateways, sandbox: Sandbox) -> tuple[Running, Running]:
    """The module's two gateways. D1 knows the edge of the second one, and the tests use cards of their own."""
    sandbox.set_edge(gateways.there.edge)
    return gateways.here, gateways.there


@pytest.fixture
def shared(sandbox: Sandbox, server: NatsServer, tmp_path: Path) -> Settings:
    """The settings of gateways of another cluster."""
    return sharing_settings(sandbox, server, tmp_path)


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> None:
    """The module's gateways keep tasks for their connections. They are gone in the end."""


async def test_a_cursor_of_one_gateway_is_good_at_the_other_at_once(pair: tuple[Running, Running]) -> None:
    one, other = pair
    async with watching(other) as first:
        await first.batch()
        sent = await notify(other, "card-1")
        assert await first.operation_ids(1) == sent
    async with watching(other) as watch:
        end = (await watch.batch()).cursor
    commit = notification.CommitCursorRequest(subscription="fraud", cursor=end)
    cursor = (await other.notifications.CommitCursor(commit)).committed_cursor

    async with watching(one, after_cursor=cursor) as second:
        later = await notify(other, "card-2")
        assert await second.operation_ids(1) == later
    found = await one.notifications.GetSubscription(notification.GetSubscriptionRequest(subscription="fraud"))
    assert found.subscription.committed_cursor == cursor
    assert found.subscription.lag == 1
    assert not one.event_log.exists()


async def test_one_card_is_found_in_a_log_that_others_filled(pair: tuple[Running, Running]) -> None:
    one, other = pair
    sent = await notify(other, *(f"card-of-{number % 10}" for number in range(60)))
    wanted = notification.NotificationFilter(card_ids=["card-of-7"])

    async with watching(one, position=EARLIEST, filter=wanted) as watch:
        assert await watch.operation_ids(6) == sent[7::10]
        more = await notify(other, "card-of-6", "card-of-7")
        assert await watch.operation_ids(1) == more[1:]


async def test_a_call_that_is_repeated_at_the_other_gateway_gets_the_first_reply(pair: tuple[Running, Running]) -> None:
    one, other = pair
    request = card.SuspendCardRequest(card_id="card-active", reason_code="FRAUD", request_id=str(uuid.uuid4()))

    first = await one.cards.SuspendCard(request)
    second = await other.cards.SuspendCard(request)

    assert second == first
    # D1 itself refuses to suspend it once more.
    anew = changed(request, request_id=str(uuid.uuid4()))
    assert (await failure_of(other.cards.SuspendCard(anew))).outcome == "REJECTED"


async def test_while_nats_is_gone_d1_gets_503_and_the_gateway_is_not_ready_and_all_ends_when_it_returns(
    sandbox: Sandbox, shared: Settings, server: NatsServer
) -> None:
    async with running_gateway(sandbox, shared) as running, edge_session(sandbox) as session:
        operator = OperatorView(running, session)
        assert await operator.notify("op-1") == 204
        await operator.until_ready(200)

        await server.kill()

        await operator.until_ready(503)
        _, checks = await operator.ready()
        assert checks["event_log_read"].startswith("The event log is not available.")
        assert checks["event_log_write"].startswith("The key-value store is not available.")
        assert await operator.notify("op-2") == 503

        await server.restart()

        async with asyncio.timeout(30):
            while await operator.notify("op-2") != 204:  # noqa: ASYNC110  again until it is taken
                await asyncio.sleep(0.05)
        await operator.until_ready(200)
        assert (await operator.scrape()).value("event_log_last_sequence") == 2
        assert (await operator.scrape()).value("event_log_size_bytes") > 100


@pytest.fixture
def without_server(shared: Settings) -> Settings:
    assert shared.nats is not None
    return shared.model_copy(update={"nats": shared.nats.model_copy(update={"servers": (NO_SERVER,)})})


async def test_gateways_that_share_a_store_have_to_have_one_key(shared: Settings) -> None:
    without = shared.model_copy(update={"idempotency": shared.idempotency.model_copy(update={"key_file": None})})

    with pytest.raises(SettingsError, match=r"idempotency\.key_file: gateways that share a store need the same key"):
        bootstrap.check(without)
    with pytest.raises(SettingsError, match=r"idempotency\.key_file"):
        async with bootstrap.running(without):
            pass


async def test_a_gateway_with_another_key_than_its_peers_does_not_start(
    sandbox: Sandbox, shared: Settings, tmp_path: Path
) -> None:
    key_file = tmp_path / "another.key"
    key_file.touch(mode=0o600)
    key_file.write_text("0b" * 32)
    other = shared.model_copy(update={"idempotency": shared.idempotency.model_copy(update={"key_file": key_file})})

    async with running_gateway(sandbox, shared):
        with pytest.raises(SettingsError, match=r"idempotency\.key_file: .*another\.key holds the key"):
            async with bootstrap.running(other):
                pass


async def test_credentials_that_cannot_be_used_are_a_mistake_in_the_settings(shared: Settings, tmp_path: Path) -> None:
    empty = tmp_path / "empty.creds"
    empty.touch(mode=0o600)
    assert shared.nats is not None
    wrong = shared.model_copy(update={"nats": shared.nats.model_copy(update={"credentials_file": empty})})

    with pytest.raises(SettingsError, match=r"nats\.credentials_file: The file .*empty\.creds does not hold"):
        bootstrap.check(wrong)


async def test_settings_for_nats_can_be_checked_without_it(without_server: Settings) -> None:
    assert bootstrap.check(without_server) == bootstrap.check(without_server.model_copy(update={"nats": None}))


async def test_a_gateway_that_finds_no_nats_does_not_start_and_a_trial_says_so(without_server: Settings) -> None:
    async def start() -> None:
        with pytest.raises(SettingsError, match=rf"nats: No NATS server can be used \({NO_SERVER}"):
            async with bootstrap.running(without_server):
                pass

    # At the same time, as each tries for a while.
    _, trials = await asyncio.gather(start(), tried(without_server))
    (failure,) = (trial.failure for trial in trials if trial.what == f"NATS {NO_SERVER}")
    assert failure is not None
    assert failure.why.startswith(f"No NATS server can be used ({NO_SERVER}")


async def test_a_trial_of_nats_finds_its_jetstream_and_creates_nothing_there(
    shared: Settings, server: NatsServer
) -> None:
    trials = await tried(shared)

    assert [trial.failure for trial in trials if trial.what == f"NATS {server.url}"] == [None]
    assert shared.nats is not None
    connection = await Connection.open(shared.nats)
    try:
        streams = (await api_request(connection, "STREAM.NAMES"))["streams"] or []
    finally:
        await connection.close()
    assert [name for name in streams if shared.nats.prefix in name] == []
