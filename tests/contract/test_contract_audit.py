"""The audit trail of a gateway: who asked for which change, what became of it, and who was refused."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from gateway.audit.disk import Batch, Disk, Written
from gateway.audit.folder import Place
from gateway.settings import AuditSettings
from issuer.card.v1 import messages_pb2 as card
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from sandbox import Sandbox
from sandbox.common.faults import Drop, Fault
from sandbox.common.pki import CALLER
from sandbox.d1.model.contract import CardState
from sandbox.d1.model.notification import Notification
from tests.contract.card_rpcs import RPCS
from tests.contract.request_ids import identified, until_held
from tests.contract.watching import watching
from tests.running import Running, failure_of, running_gateway, settings_for
from tests.unit.audit.trails import lines, until, verified


@asynccontextmanager
async def _audited(sandbox: Sandbox, folder: Path, *, rpcs: str = "*", **audit: Any) -> AsyncIterator[Running]:
    trail = folder / "audit"
    used = settings_for(sandbox, folder, d1_timeout_seconds=2.0)
    policy = used.access.policy_file
    policy.write_text(policy.read_text().replace('rpcs = ["*"]', f'rpcs = ["{rpcs}"]'))
    async with running_gateway(
        sandbox, used.model_copy(update={"audit": AuditSettings(folder=trail, **audit)})
    ) as running:
        yield running


def _changes(folder: Path, kind: str = "result") -> list[dict[str, Any]]:
    return [line for line in lines(folder / "audit") if line["kind"] == kind]


async def test_each_change_has_an_attempt_and_a_result_with_who_what_when_and_the_outcome(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    begun = datetime.now(UTC)
    async with _audited(sandbox, tmp_path) as running:
        request = card.SuspendCardRequest(
            card_id="card-active", reason_code="FRAUD", reason="A word", user_id="agent-7", request_id=str(uuid4())
        )
        await running.cards.SuspendCard(request, timeout=5, metadata=(("x-correlation-id", "of-the-audit"),))
        await running.cards.SuspendCard(request, timeout=5)
        made = await RPCS["CreateCard"].call(running)
        on_disk = _changes(tmp_path)

    assert len(on_disk) == 3, "a result is there when its caller has the reply"
    result, replay, created = on_disk
    (attempt, *_) = _changes(tmp_path, "attempt")
    about = {
        "rpc": "issuer.card.v1.CardService/SuspendCard",
        "caller": CALLER,
        "issuer_id": sandbox.issuer_id,
        "card_id": "card-active",
        "reason_code": "FRAUD",
        "user_id": "agent-7",
        "request_id": request.request_id,
        "correlation_id": "of-the-audit",
    }
    assert about.items() <= attempt.items()
    assert about.items() <= result.items()
    end = {"attempt": attempt["seq"], "code": "OK", "reason": "", "outcome": "COMPLETED", "replay": False}
    assert end.items() <= result.items()
    assert result["peer"].startswith("ipv4:127.0.0.1:")
    assert (replay["replay"], replay["request_id"]) == (True, request.request_id)
    assert created["made_card_id"] == made.card_id
    for line in (attempt, result):
        assert begun - timedelta(seconds=1) <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)
        assert line["time"].endswith("Z")
        assert len(line["time"]) == len("2026-11-30T12:00:00.123456Z")
    assert "A word" not in str(lines(tmp_path / "audit"))
    assert verified(tmp_path / "audit").findings == []


async def test_d1_is_called_once_the_attempt_is_on_disk_and_the_caller_has_the_reply_once_the_result_is(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Disk._write

    def write_slowly(disk: Disk, batch: Batch) -> Written:
        time.sleep(0.3)
        return write(disk, batch)

    async with _audited(sandbox, tmp_path) as running:
        monkeypatch.setattr(Disk, "_write", write_slowly)
        call = asyncio.ensure_future(RPCS["SuspendCard"].call(running))
        await until(lambda: sandbox.store.card("card-active").state is CardState.SUSPENDED)
        assert len(_changes(tmp_path, "attempt")) == 1
        await call
        assert len(_changes(tmp_path)) == 1


async def test_what_failed_is_recorded_with_its_reason_and_whether_d1_may_have_acted(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with _audited(sandbox, tmp_path) as running:
        sandbox.faults.add(Fault("suspendCard", drop=Drop.AFTER))
        await failure_of(RPCS["SuspendCard"].call(running))
        await failure_of(running.cards.SuspendCard(card.SuspendCardRequest(card_id="unknown", reason_code="FRAUD")))
        await failure_of(running.cards.SuspendCard(card.SuspendCardRequest(card_id="")))

    assert [(each["code"], each["reason"], each["outcome"]) for each in _changes(tmp_path)] == [
        ("UNKNOWN", "UPSTREAM_NO_RESPONSE", "UNKNOWN"),
        ("NOT_FOUND", "UPSTREAM_NOT_FOUND", "REJECTED"),
    ], "what breaks the contract is no change"


async def test_changes_of_consumers_authentications_and_subscriptions_are_recorded_and_traffic_is_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    result = authentication.AuthenticationResult(
        authentication_id="authentication-1", status=authentication.AUTHENTICATION_STATUS_SUCCESSFUL
    )
    async with _audited(sandbox, tmp_path) as running:
        await running.consumers.RegisterConsumer(consumer.RegisterConsumerRequest(consumer_id="consumer-9"), timeout=5)
        await running.consumers.CompleteAuthentication(
            consumer.CompleteAuthenticationRequest(result=result, consumer_id="consumer-9"), timeout=5
        )
        await running.notifications.ResetSubscription(
            notification.ResetSubscriptionRequest(subscription="ledger", position=notification.START_POSITION_EARLIEST),
            timeout=5,
        )
        await running.notifications.ListSubscriptions(notification.ListSubscriptionsRequest(), timeout=5)
        await running.notifications.DeleteSubscription(
            notification.DeleteSubscriptionRequest(subscription="ledger"), timeout=5
        )

    found = [
        (each["rpc"].rpartition("/")[2], each.get("consumer_id"), each.get("subscription"), each["code"])
        for each in _changes(tmp_path)
    ]
    assert found == [
        ("RegisterConsumer", "consumer-9", None, "OK"),
        ("CompleteAuthentication", "consumer-9", None, "OK"),
        ("ResetSubscription", None, "ledger", "OK"),
        ("DeleteSubscription", None, "ledger", "OK"),
    ]
    completed = _changes(tmp_path)[1]
    assert (completed["authentication_id"], completed["authentication_status"]) == ("authentication-1", "SUCCESSFUL")


async def test_a_backfill_is_recorded_with_the_number_of_its_cards_and_the_correlation_id_of_what_it_recovers(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.history.add(Notification("card-active", "op_lost", datetime.now(UTC)))
    request = notification.BackfillNotificationsRequest(card_ids=["card-active", "card-unknown"])
    request.since_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    async with _audited(sandbox, tmp_path) as running:
        done = running.notifications.BackfillNotifications(request)
        assert [each.card.recovered_count async for each in done] == [1, 0]
        left = running.notifications.BackfillNotifications(request)
        await left.read()
        left.cancel()
        async with watching(running, position=notification.START_POSITION_EARLIEST) as watch:
            (recovered,) = await watch.take(1)
        await until(lambda: len(_changes(tmp_path)) > 1)

    (attempt, _), (result, cancelled) = _changes(tmp_path, "attempt"), _changes(tmp_path)
    about = {
        "rpc": "issuer.notification.v1.NotificationService/BackfillNotifications",
        "caller": CALLER,
        "issuer_id": sandbox.issuer_id,
        "card_count": 2,
        "correlation_id": recovered.correlation_id,
    }
    assert about.items() <= attempt.items()
    assert {**about, "attempt": attempt["seq"], "code": "OK", "outcome": "COMPLETED", "replay": False}.items() <= (
        result.items()
    )
    assert (cancelled["code"], cancelled["outcome"]) == ("CANCELLED", "UNKNOWN")
    assert verified(tmp_path / "audit").findings == []


async def test_a_change_whose_caller_left_is_recorded_with_its_final_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    async with _audited(sandbox, tmp_path) as running:
        sandbox.faults.add(Fault("suspendCard", latency_ms=400))
        call = asyncio.ensure_future(running.cards.SuspendCard(identified(RPCS["SuspendCard"]), timeout=5))
        await until_held(sandbox)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    (result,) = _changes(tmp_path)
    assert (result["code"], result["outcome"]) == ("OK", "COMPLETED")
    assert result["duration_ms"] >= 400
    assert lines(tmp_path / "audit")[-1]["kind"] == "closed", "a drain waits for the change, then closes the trail"


async def test_refused_calls_are_recorded_of_strangers_and_of_callers_without_a_grant(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with _audited(sandbox, tmp_path, rpcs="issuer.card.v1.CardService/SuspendCard") as running:
        assert (await failure_of(RPCS["ResumeCard"].call(running))).reason == "PERMISSION_DENIED"
        stream = running.callbacks.HandleCallbacks()
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()
        stranger = await failure_of(RPCS["SuspendCard"].call(running, metadata=(("authorization", "Bearer none"),)))
        assert stranger.reason == "UNAUTHENTICATED"

    refused = _changes(tmp_path, "refused")
    assert [(each["rpc"].rpartition("/")[2], each["caller"], each["reason"], each["outcome"]) for each in refused] == [
        ("ResumeCard", CALLER, "PERMISSION_DENIED", "NOT_SENT"),
        ("HandleCallbacks", CALLER, "PERMISSION_DENIED", "NOT_SENT"),
        ("SuspendCard", "", "UNAUTHENTICATED", "NOT_SENT"),
    ]
    assert {each["peer"].rpartition(":")[0] for each in refused} == {"ipv4:127.0.0.1"}


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A disk of the trail that is full while its list is not empty."""
    full: list[bool] = []
    create = Place.create

    def create_if_room(place: Place, number: int, beginning: bytes) -> int:
        if full:
            raise OSError(28, os.strerror(28))
        return create(place, number, beginning)

    monkeypatch.setattr(Place, "create", create_if_room)
    return full


async def test_without_its_trail_a_gateway_refuses_changes_before_d1_is_called_and_is_not_ready(
    sandbox: Sandbox, tmp_path: Path, full_disk: list[bool]
) -> None:
    full_disk.append(True)
    async with _audited(sandbox, tmp_path) as running:
        failure = await failure_of(RPCS["SuspendCard"].call(running))
        assert (failure.code, failure.reason, failure.outcome) == (
            grpc.StatusCode.UNAVAILABLE,
            "AUDIT_UNAVAILABLE",
            "NOT_SENT",
        )
        assert failure.retry_seconds == 1.0
        assert sandbox.store.card("card-active").state.name == "ACTIVE"
        await running.notifications.ListSubscriptions(notification.ListSubscriptionsRequest(), timeout=5)
        full_disk.clear()
        await until(lambda: bool(_changes(tmp_path, "opened")))
        # It is on disk a moment before the gateway knows.
        await asyncio.sleep(0.2)
        await RPCS["SuspendCard"].call(running)

    (result,) = _changes(tmp_path)
    assert result["outcome"] == "COMPLETED"
    (begun,) = _changes(tmp_path, "opened")
    assert begun["refused"] >= 1


async def test_a_gateway_that_may_continue_makes_changes_and_writes_their_lines_later(
    sandbox: Sandbox, tmp_path: Path, full_disk: list[bool]
) -> None:
    full_disk.append(True)
    async with _audited(sandbox, tmp_path, if_unavailable="continue") as running:
        await RPCS["SuspendCard"].call(running)
        assert _changes(tmp_path) == []
        full_disk.clear()
        await until(lambda: bool(_changes(tmp_path)))

    (result,) = _changes(tmp_path)
    assert result["outcome"] == "COMPLETED"
    assert verified(tmp_path / "audit").findings == []
