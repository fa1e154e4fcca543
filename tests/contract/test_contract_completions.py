"""CompleteAuthentication: results are stored, and D1's polls succeed without a handler."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox import Sandbox
from sandbox.handler import Handler
from tests.contract.calling_back import D1
from tests.running import SECOND_ISSUER, Failure, Running, edge_session, failure_of, running_gateway, settings_for

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

    async def poll(self, issuer_id: str = "SANDBOX001") -> Any:
        """Poll for the result, as D1 does."""
        path = f"/banking/d1/v1/issuers/{issuer_id}/consumers/{self.consumer_id}/authentication/{self.id}"
        url = f"{self.running.edge}{path}"
        async with edge_session(self.running.sandbox) as session, session.get(url) as response:
            assert response.status == 200
            return await response.json()


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
        (authentication.AUTHENTICATION_STATUS_PENDING, {}, {"result"}),
        (authentication.AUTHENTICATION_STATUS_UNSPECIFIED, {}, {"result", "result.status"}),
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
