"""A running gateway has every series, with every label, that panels and rules name."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from gateway.settings import AuditSettings, Settings
from issuer.card.v1 import messages_pb2 as card
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import history_pb2 as history
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.handler import Handler
from tests.callback_replies import tell_person
from tests.integration.nats.nats_gateways import two_gateways
from tests.integration.observability.named_series import expressions, grouped, named, recorded
from tests.integration.telemetry.operator_view import OperatorView, Samples
from tests.running import edge_session, notification_path, running_gateway, settings_for

_CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-77"
_IN_A_CLUSTER = {"d1_gateway_peers", "d1_gateway_callbacks_relayed_total"}
_EMBEDDED = {"d1_gateway_event_log_free_bytes"}
_AUDITED = {"d1_gateway_audit_available"}
_SUFFIX = re.compile(r"_(?:bucket|count|sum)$")


@pytest.fixture(scope="module")
async def busy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Samples]:
    """What a gateway shows after some of everything."""
    folder = tmp_path_factory.mktemp("gateway")
    async with (
        Sandbox.start(folder / "keys") as sandbox,
        running_gateway(sandbox, _settings(sandbox, folder)) as running,
        edge_session(sandbox) as session,
    ):
        view = OperatorView(running, session)
        await _call(view, sandbox)
        await view.notify("op-1")
        await view.call("POST", notification_path("card-1"), {"operationId": "op-2", "startTime": 7, "details": {}})
        async with Handler.connect(running.channel, {"consumer_information": tell_person}):
            await view.until("handlers_connected", 1, kind="consumer_information")
            assert await view.call("GET", _CONSUMER) == 200
        watch = notification.WatchNotificationsRequest(
            position=notification.START_POSITION_EARLIEST, subscription="ledger"
        )
        call = running.notifications.WatchNotifications(watch)
        await call.read()
        await call.read()
        yield await view.scrape()
        call.cancel()


def _settings(sandbox: Sandbox, folder: Path) -> Settings:
    trail = folder / "audit"
    trail.mkdir()
    return settings_for(sandbox, folder).model_copy(update={"audit": AuditSettings(folder=trail)})


async def _call(view: OperatorView, sandbox: Sandbox) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await view.running.cards.SuspendCard(card.SuspendCardRequest(card_id="card-unknown", reason_code="FRAUD"))
    sandbox.faults.add(Fault(status=503))
    listing = history.ListThreeDSOperationsRequest(card_id="card-unknown")
    with pytest.raises(grpc.aio.AioRpcError):
        await view.running.operations.ListThreeDSOperations(listing)


async def test_every_series_and_label_that_panels_and_rules_name_is_there(busy: Samples) -> None:
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for sample in busy.all:
        labels[sample.name] |= sample.labels.keys()

    missing: set[tuple[str, object]] = set()
    for expression in expressions():
        wanted = {(name, selected) for name, selected in named(expression) if name not in _IN_A_CLUSTER}
        missing |= {(name, selected) for name, selected in wanted if name not in labels or selected - labels[name]}
        known = set[str]().union(*(labels[name] for name, _ in named(expression)), {"direction"})
        missing |= {(expression, label) for label in grouped(expression) if label not in known}
    assert missing == set()


async def test_gateways_of_a_cluster_have_them_too_and_count_what_passes_between_them(tmp_path: Path) -> None:
    async with two_gateways(tmp_path) as gateways:
        here, there = (OperatorView(each, gateways.session) for each in (gateways.here, gateways.there))
        await _one_does_the_backfill(here, there)
        assert await here.notify() == 204
        async with Handler.connect(gateways.there.channel, {"consumer_information": tell_person}):
            assert (await gateways.call())[0] == 200
        found, received = await here.scrape(), await there.scrape()

    assert [each.value("peers") for each in (found, received)] == [1, 1]
    assert found.value("callbacks_relayed_total", direction="sent") == 1
    assert received.value("callbacks_relayed_total", direction="received") == 1
    exposed = set(re.findall(r"^# TYPE (\S+)", found.text, re.MULTILINE))
    wanted = {name for expression in expressions() for name, _ in named(expression)}
    assert {
        name for name in wanted if name not in exposed and _SUFFIX.sub("", name) not in exposed
    } == _EMBEDDED | _AUDITED


async def _one_does_the_backfill(*views: OperatorView) -> None:
    async with asyncio.timeout(30):
        # The other side of a connection sends no event.
        while [(await view.scrape()).value("backfill_leader") for view in views].count(1) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    pages = [(await view.get("/"))[2] for view in views]
    told = [[text in page for page in pages].count(True) for text in ("this gateway does it", "a peer does it")]
    assert told == [1, 1]


def test_what_is_recorded_is_used_and_what_is_used_is_recorded() -> None:
    found = recorded()
    assert found[True] == found[False]
