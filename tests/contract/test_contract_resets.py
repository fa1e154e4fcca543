"""NotificationService: resets of named subscriptions."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.common.pki import STRANGER
from tests.contract.test_contract_access import as_stranger, granting
from tests.contract.watching import EARLIEST, end_of_log, later, notify, watching
from tests.running import Error, Running, failure_of, running_gateway, settings_for

_TICK = Duration(nanos=100_000_000)
_LATEST = notification.START_POSITION_LATEST
_CODE = grpc.StatusCode


@pytest.fixture
async def running(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway with an empty event log."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as started:
        yield started


async def _reset(running: Running, **fields: Any) -> str:
    request = notification.ResetSubscriptionRequest(**({"subscription": "billing"} | fields))
    response: notification.ResetSubscriptionResponse = await running.notifications.ResetSubscription(
        request, timeout=10
    )
    return response.committed_cursor


async def _commit(running: Running, cursor: str, fencing_token: int) -> str:
    request = notification.CommitCursorRequest(subscription="billing", cursor=cursor, fencing_token=fencing_token)
    response: notification.CommitCursorResponse = await running.notifications.CommitCursor(request, timeout=10)
    return response.committed_cursor


async def _committed(running: Running) -> str:
    request = notification.GetSubscriptionRequest(subscription="billing")
    return (await running.notifications.GetSubscription(request, timeout=10)).subscription.committed_cursor


async def test_a_reset_makes_a_subscription_whose_first_watch_begins_there(running: Running) -> None:
    sent = await notify(running, "card-1", "card-2")

    committed = await _reset(running, position=EARLIEST)

    assert committed == await _committed(running)
    async with watching(running, subscription="billing") as watch:
        assert (await watch.batch()).cursor == committed
        assert await watch.operation_ids(2) == sent


async def test_a_reset_moves_a_cursor_to_a_cursor_a_time_or_an_end_of_the_log(running: Running) -> None:
    await notify(running, "card-1", "card-2", "card-3")
    async with watching(running, position=EARLIEST) as watch:
        begin = (await watch.batch()).cursor
        first, second, third = await watch.take(3)
    since = Timestamp()
    since.FromMilliseconds(second.receive_time.ToMilliseconds())
    before = {first.receive_time.ToMilliseconds() < since.ToMilliseconds(): first.cursor}.get(True, begin)

    for target, cursor in (
        ({"after_cursor": third.cursor}, third.cursor),
        ({"after_cursor": first.cursor}, first.cursor),
        ({"position": _LATEST}, third.cursor),
        ({"since_time": since}, before),
        ({"since_time": Timestamp(seconds=253_402_300_799)}, third.cursor),
        ({"position": EARLIEST}, begin),
        ({"position": EARLIEST}, begin),
    ):
        assert await _reset(running, **target) == cursor == await _committed(running)


async def test_only_the_active_watcher_resets_a_subscription_that_has_one(running: Running) -> None:
    sent = await notify(running, "card-1", "card-2")
    end = await end_of_log(running)
    in_use, stale = ((_CODE.FAILED_PRECONDITION, each) for each in ("SUBSCRIPTION_IN_USE", "FENCING_TOKEN_STALE"))
    async with watching(running, subscription="billing", heartbeat_interval=_TICK) as active:
        begin = await active.batch()
        for token, error in (
            (0, in_use),
            (begin.fencing_token - 1, stale),
            (begin.fencing_token + 1, stale),
            (2**64 - 1, stale),
        ):
            failure = await failure_of(_reset(running, position=EARLIEST, fencing_token=token))
            assert ((failure.code, failure.reason), failure.outcome) == (error, "REJECTED")
        assert await _committed(running) == end

        committed = await _reset(running, position=EARLIEST, fencing_token=begin.fencing_token)

        assert committed == await _committed(running) == later(end, -2)
        assert (await active.batch()).cursor == end, "its stream goes on where it is"
        failure = await failure_of(_commit(running, end, begin.fencing_token))
        assert (failure.code, failure.reason) == stale
        assert await _reset(running, position=EARLIEST, fencing_token=begin.fencing_token) == committed
        async with watching(running, subscription="billing", heartbeat_interval=_TICK) as successor:
            await successor.batch()
            active.leave()
            while (again := await successor.batch()).role == notification.WATCHER_ROLE_STANDBY:
                pass
            assert again.cursor == committed
            assert await successor.operation_ids(2) == sent
            # Late, from before the reset.
            assert (await failure_of(_commit(running, end, begin.fencing_token))).reason == "FENCING_TOKEN_STALE"
            assert await _commit(running, end, again.fencing_token) == end


async def test_a_place_that_the_log_does_not_have_is_refused_and_changes_nothing(running: Running) -> None:
    end = await end_of_log(running)
    for cursor in ("x", "00000000-0", later(end, 1)):
        failure = await failure_of(_reset(running, after_cursor=cursor))
        assert (failure.code, failure.reason) == (_CODE.INVALID_ARGUMENT, "CURSOR_UNKNOWN")

    assert (await failure_of(_committed(running))).reason == "SUBSCRIPTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("target", {}),
        ("position", {"position": 0}),
        ("position", {"position": 9}),
        ("after_cursor", {"after_cursor": ""}),
        ("since_time", {"since_time": Timestamp(seconds=2**62)}),
        ("subscription", {"position": EARLIEST, "subscription": "a b"}),
    ],
)
async def test_a_wrong_field_of_a_reset_is_named(running: Running, field: str, fields: dict[str, Any]) -> None:
    failure = await failure_of(_reset(running, **fields))

    assert failure.error == Error(_CODE.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT")
    assert set(failure.violations) == {field}
    assert (await failure_of(_committed(running))).reason == "SUBSCRIPTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("rpcs", "is_allowed"),
    [
        ("issuer.notification.v1.NotificationService/CommitCursor", False),
        ("issuer.notification.v1.NotificationService/ResetSubscription", True),
        ("issuer.notification.v1.NotificationService/*", True),
    ],
)
async def test_a_reset_needs_its_own_grant(sandbox: Sandbox, tmp_path: Path, rpcs: str, *, is_allowed: bool) -> None:
    used = granting(settings_for(sandbox, tmp_path), tmp_path, STRANGER, rpcs)
    request = notification.ResetSubscriptionRequest(issuer_id="SANDBOX001", subscription="billing", position=EARLIEST)
    async with running_gateway(sandbox, used) as running, as_stranger(running) as channel:
        call = NotificationServiceStub(channel).ResetSubscription(request, timeout=10)
        if is_allowed:
            assert (await call).committed_cursor
        else:
            assert (await failure_of(call)).code == _CODE.PERMISSION_DENIED
            with closing(sqlite3.connect(running.event_log)) as file:
                assert file.execute("SELECT count(*) FROM subscription").fetchone() == (0,)
