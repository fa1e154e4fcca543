"""CompleteAuthentication: results are stored, and D1's requests for them succeed without a handler."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from structlog.testing import capture_logs

from gateway import bootstrap
from gateway.settings import Settings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox import Sandbox
from sandbox.handler import Handler
from tests.callback_replies import reject
from tests.contract.calling_back import D1
from tests.integration.edge.edge_caller import edge_log
from tests.running import (
    SECOND_ISSUER,
    Failure,
    Running,
    connected,
    edge_session,
    failure_of,
    running_gateway,
    settings_for,
)

_Code = grpc.StatusCode
_APPROVED = authentication.AUTHENTICATION_STATUS_SUCCESSFUL
_DENIED = authentication.AUTHENTICATION_STATUS_FAILED


class _Authentication:
    """An authentication that nobody has completed yet."""

    def __init__(self, running: Running, authentication_id: str = "", consumer_id: str = "consumer-1") -> None:
        self.running = running
        self.consumer_id = consumer_id
        self.id = authentication_id or f"authn-{uuid4().hex}"

    async def complete(
        self, status: "authentication.AuthenticationStatus.ValueType" = _APPROVED, error: str = "", **fields: Any
    ) -> None:
        result = authentication.AuthenticationResult(authentication_id=self.id, status=status, error=error)
        fields = {"consumer_id": self.consumer_id, "result": result, **fields}
        request = consumer.CompleteAuthenticationRequest(**fields)
        reply = await self.running.consumers.CompleteAuthentication(request, timeout=10)
        assert reply == consumer.CompleteAuthenticationResponse()

    async def refused(self, *args: Any, **fields: Any) -> Failure:
        return await failure_of(self.complete(*args, **fields))

    async def poll(self, issuer_id: str = "SANDBOX001", status: int = 200) -> Any:
        """Poll for the result, as D1 does."""
        path = f"/banking/d1/v1/issuers/{issuer_id}/consumers/{self.consumer_id}/authentication/{self.id}"
        url = f"{self.running.edge}{path}"
        async with edge_session(self.running.sandbox) as session, session.get(url) as response:
            assert response.status == status
            return await response.json() if await response.read() else None


@pytest.fixture
def authn(running: Running) -> _Authentication:
    return _Authentication(running)


async def test_d1_gets_the_result_though_no_handler_is_connected(authn: _Authentication) -> None:
    assert (await authn.poll())["status"] == "PENDING"

    await authn.complete(_DENIED, "denied by the consumer")

    assert await authn.poll() == {"authenticationId": authn.id, "status": "FAILED", "error": "denied by the consumer"}


@pytest.mark.parametrize(
    ("first", "then", "status"), [(_APPROVED, _DENIED, "SUCCESSFUL"), (_DENIED, _APPROVED, "FAILED")]
)
async def test_the_first_result_stands(authn: _Authentication, first: Any, then: Any, status: str) -> None:
    await authn.complete(first, "first words")
    await authn.complete(first, "other words")

    failure = await authn.refused(then)

    assert failure.error == (_Code.FAILED_PRECONDITION, "AUTHENTICATION_DECIDED", "REJECTED", None)
    assert await authn.poll() == {"authenticationId": authn.id, "status": status, "error": "first words"}


async def test_a_result_outlasts_the_gateway(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    async with running_gateway(sandbox, used) as running:
        await _Authentication(running, "authn-1").complete(_DENIED)

    async with running_gateway(sandbox, used) as running:
        authn = _Authentication(running, "authn-1")
        assert (await authn.poll())["status"] == "FAILED"
        assert (await authn.refused(_APPROVED)).reason == "AUTHENTICATION_DECIDED"


async def test_each_issuer_has_its_own_authentications(running_two: Running) -> None:
    authn = _Authentication(running_two)
    await authn.complete(_DENIED, issuer_id=SECOND_ISSUER)

    assert (await authn.poll())["status"] == "PENDING"
    assert (await authn.poll(SECOND_ISSUER))["status"] == "FAILED"


async def test_each_consumer_has_its_own_authentications(authn: _Authentication) -> None:
    other = _Authentication(authn.running, authn.id, "consumer-2")
    await authn.complete(_DENIED)

    assert (await other.poll())["status"] == "PENDING"
    await other.complete(_APPROVED)

    assert [(await each.poll())["status"] for each in (authn, other)] == ["FAILED", "SUCCESSFUL"]


async def test_a_result_from_a_handler_is_kept_for_the_consumer_alone_that_d1_asked_about(
    authn: _Authentication,
) -> None:
    async def approve(_: callback.CallbackRequest) -> callback.CallbackReply:
        return callback.CallbackReply(authentication_result=replies.AuthenticationResultResponse(status=_APPROVED))

    async with Handler.connect(authn.running.channel, {"authentication_result": approve}):
        assert (await authn.poll())["status"] == "SUCCESSFUL"

    assert (await authn.poll())["status"] == "SUCCESSFUL"
    assert (await _Authentication(authn.running, authn.id, "consumer-2").poll())["status"] == "PENDING"


async def test_a_result_may_come_before_the_reply_that_names_its_authentication(authn: _Authentication) -> None:
    async def begin(_: callback.CallbackRequest) -> callback.CallbackReply:
        await authn.complete(_APPROVED)
        return callback.CallbackReply(authenticate=replies.AuthenticateConsumerResponse(authentication_id=authn.id))

    async with (
        Handler.connect(authn.running.channel, {"authenticate": begin}),
        edge_session(authn.running.sandbox) as session,
    ):
        assert await D1(authn.running, session).call("/authentication", {}) == (200, {"authenticationId": authn.id})
    assert (await authn.poll())["status"] == "SUCCESSFUL"


async def test_a_request_id_belongs_to_the_result_of_one_consumer(authn: _Authentication) -> None:
    request_id = str(uuid4())
    await authn.complete(request_id=request_id)

    failure = await authn.refused(request_id=request_id, consumer_id="consumer-2")

    assert (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert (await _Authentication(authn.running, authn.id, "consumer-2").poll())["status"] == "PENDING"


@pytest.mark.parametrize(
    ("status", "fields", "wrong"),
    [
        (_APPROVED, {"consumer_id": ""}, {"consumer_id"}),
        (_APPROVED, {"consumer_id": "a/b"}, {"consumer_id"}),
        (_APPROVED, {"result": None}, {"result"}),
        (authentication.AUTHENTICATION_STATUS_PENDING, {}, {"result.status"}),
        (authentication.AUTHENTICATION_STATUS_UNSPECIFIED, {}, {"result.status"}),
        (_DENIED, {"error": "x" * 257}, {"result.error"}),
        (_APPROVED, {"issuer_id": "short"}, {"issuer_id"}),
    ],
)
async def test_a_wrong_field_is_named(
    authn: _Authentication, status: Any, fields: dict[str, Any], wrong: set[str]
) -> None:
    failure = await authn.refused(status, **fields)

    assert (failure.code, failure.reason, failure.outcome) == (_Code.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT")
    assert set(failure.violations) == wrong
    assert (await authn.poll())["status"] == "PENDING"


async def test_an_id_that_is_none_is_named(running: Running) -> None:
    failure = await _Authentication(running, "a/b").refused()

    assert (failure.reason, set(failure.violations)) == ("INVALID_REQUEST", {"result.authentication_id"})


async def test_a_result_that_cannot_be_stored_now_is_retryable(authn: _Authentication) -> None:
    with closing(sqlite3.connect(authn.running.event_log, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        failure = await authn.refused()

    assert failure.error == (_Code.UNAVAILABLE, "STORE_UNAVAILABLE", "REJECTED", 1.0)
    await authn.complete()


_LONG_SECONDS = 30.0


@pytest.fixture(scope="module")
async def patient_gateway(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway that holds D1's requests far longer than a test takes, and gives handlers as long."""
    folder = tmp_path_factory.mktemp("patient")
    used = settings_for(shared_sandbox, folder, result_wait_seconds=_LONG_SECONDS, drain_grace_seconds=0.2)
    async with running_gateway(shared_sandbox, _with_polls(used, deadline_seconds=_LONG_SECONDS)) as started:
        yield started


@pytest.fixture
def held(sandbox: Sandbox, patient_gateway: Running) -> _Authentication:
    del sandbox
    return _Authentication(patient_gateway)


def _with_polls(settings: Settings, **changes: Any) -> Settings:
    polls = settings.callbacks.authentication_result.model_copy(update=changes)
    callbacks = settings.callbacks.model_copy(update={"authentication_result": polls})
    return settings.model_copy(update={"callbacks": callbacks})


def _replying(
    status: "authentication.AuthenticationStatus.ValueType", asked: asyncio.Event
) -> Callable[[callback.CallbackRequest], Awaitable[callback.CallbackReply]]:
    async def reply(_: callback.CallbackRequest) -> callback.CallbackReply:
        asked.set()
        return callback.CallbackReply(authentication_result=replies.AuthenticationResultResponse(status=status))

    return reply


async def test_requests_are_held_until_the_result_is_reported(held: _Authentication) -> None:
    polls = [asyncio.create_task(held.poll()) for _ in range(3)]
    other = asyncio.create_task(_Authentication(held.running, held.id, "consumer-2").poll())
    done, _ = await asyncio.wait(polls, timeout=0.3)
    assert not done

    await held.complete(_DENIED, "denied by the consumer")

    async with asyncio.timeout(_LONG_SECONDS / 2):
        for poll in polls:
            assert (await poll)["error"] == "denied by the consumer"
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_a_result_that_is_reported_ends_the_request_of_a_handler_that_has_none(held: _Authentication) -> None:
    asked = asyncio.Event()
    responders = {"authentication_result": _replying(authentication.AUTHENTICATION_STATUS_PENDING, asked)}
    async with Handler.connect(held.running.channel, responders):
        poll = asyncio.create_task(held.poll())
        await asked.wait()
        done, _ = await asyncio.wait([poll], timeout=0.2)
        assert not done
        await held.complete()
        async with asyncio.timeout(_LONG_SECONDS / 2):
            assert (await poll)["status"] == "SUCCESSFUL"


async def test_a_handler_that_hangs_does_not_hide_a_result(held: _Authentication) -> None:
    asked = asyncio.Event()

    async def hang(_: callback.CallbackRequest) -> callback.CallbackReply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with Handler.connect(held.running.channel, {"authentication_result": hang}):
        poll = asyncio.create_task(held.poll())
        await asked.wait()
        await held.complete()
        async with asyncio.timeout(_LONG_SECONDS / 2):
            assert (await poll)["status"] == "SUCCESSFUL"


async def test_a_request_is_not_held_any_more_when_d1_hangs_up(held: _Authentication) -> None:
    with edge_log() as logged:
        poll = asyncio.create_task(held.poll())
        done, _ = await asyncio.wait([poll], timeout=0.3)
        assert not done
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        async with asyncio.timeout(_LONG_SECONDS / 2):
            # Only the edge's log shows it.
            while not [line for line in logged if line["event"] == "callback_abandoned"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_drain_answers_what_is_held_and_waits_for_a_handler_that_is_at_work(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    asked = asyncio.Event()

    async def reply(_: callback.CallbackRequest) -> callback.CallbackReply:
        asked.set()
        await asyncio.wait([alone])
        return callback.CallbackReply(authentication_result=replies.AuthenticationResultResponse(status=_DENIED))

    used = settings_for(sandbox, tmp_path, result_wait_seconds=_LONG_SECONDS, drain_grace_seconds=_LONG_SECONDS)
    used = _with_polls(used, deadline_seconds=_LONG_SECONDS)
    async with asyncio.timeout(_LONG_SECONDS / 2), AsyncExitStack() as clients:
        async with bootstrap.running(used) as addresses:
            running = await clients.enter_async_context(connected(sandbox, used, addresses))
            alone = asyncio.create_task(_Authentication(running).poll())
            await asyncio.sleep(0.3)
            handler = Handler.connect(running.channel, {"authentication_result": reply})
            await clients.enter_async_context(handler)
            at_work = asyncio.create_task(_Authentication(running).poll())
            await asked.wait()
            assert not alone.done()

        assert (await alone)["status"] == "PENDING"
        assert (await at_work)["status"] == "FAILED"


async def test_a_handlers_result_or_refusal_is_not_held(held: _Authentication) -> None:
    async with asyncio.timeout(_LONG_SECONDS / 2):
        async with Handler.connect(held.running.channel, {"authentication_result": reject}):
            assert await held.poll(status=404) == {"error": "not found"}
        async with Handler.connect(
            held.running.channel, {"authentication_result": _replying(_DENIED, asyncio.Event())}
        ):
            assert (await held.poll())["status"] == "FAILED"


async def test_without_a_result_the_answer_is_pending_or_the_fallback_when_the_time_is_over(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    # D1 documents no body for 403.
    for fallback, status, answer in ((None, 200, {"status": "PENDING"}), (403, 403, None)):
        folder = tmp_path / str(status)
        folder.mkdir()
        used = _with_polls(settings_for(sandbox, folder, result_wait_seconds=0.3), fallback_status=fallback)
        async with running_gateway(sandbox, used) as running:
            authn, clock = _Authentication(running), asyncio.get_running_loop().time
            began = clock()
            with capture_logs() as logged:
                polled = await authn.poll(status=status)
            errors = [entry["error"] for entry in logged if entry["event"] == "callback_rejected"]
            assert errors == ([] if answer else ["no answer in time"])
            assert polled == (answer and answer | {"authenticationId": authn.id})
            assert clock() - began >= 0.3
            await authn.complete()
            assert (await authn.poll())["status"] == "SUCCESSFUL"
