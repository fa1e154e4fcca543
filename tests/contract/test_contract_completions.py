"""CompleteAuthentication: results are stored, and D1's polls succeed without a handler."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox import Sandbox
from tests.running import SECOND_ISSUER, Failure, Running, edge_session, failure_of, running_gateway, settings_for

_Code = grpc.StatusCode
_APPROVED = authentication.AUTHENTICATION_STATUS_SUCCESSFUL
_DENIED = authentication.AUTHENTICATION_STATUS_FAILED


def _request(
    status: "authentication.AuthenticationStatus.ValueType" = _APPROVED,
    *,
    authentication_id: str = "authn-1",
    error: str = "",
    issuer_id: str = "",
) -> consumer.CompleteAuthenticationRequest:
    result = authentication.AuthenticationResult(authentication_id=authentication_id, status=status, error=error)
    return consumer.CompleteAuthenticationRequest(issuer_id=issuer_id, result=result)


async def _complete(running: Running, request: consumer.CompleteAuthenticationRequest) -> None:
    answer = await running.consumers.CompleteAuthentication(request, timeout=10)
    assert answer == consumer.CompleteAuthenticationResponse()


async def _refused(running: Running, request: consumer.CompleteAuthenticationRequest) -> Failure:
    return await failure_of(running.consumers.CompleteAuthentication(request, timeout=10))


async def _poll(running: Running, issuer_id: str = "SANDBOX001") -> Any:
    """Poll for the result, as D1 does."""
    path = f"/banking/d1/v1/issuers/{issuer_id}/consumers/consumer-1/authentication/authn-1"
    async with edge_session(running.sandbox) as session, session.get(f"{running.edge}{path}") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_d1_gets_the_result_though_no_handler_is_connected(running: Running) -> None:
    assert (await _poll(running))["status"] == "PENDING"

    await _complete(running, _request(_DENIED, error="denied by the consumer"))

    assert await _poll(running) == {
        "authenticationId": "authn-1",
        "status": "FAILED",
        "error": "denied by the consumer",
    }


async def test_the_first_result_stands(running: Running) -> None:
    await _complete(running, _request(_APPROVED))
    await _complete(running, _request(_APPROVED, error="in other words"))

    failure = await _refused(running, _request(_DENIED))

    assert (failure.code, failure.reason) == (_Code.FAILED_PRECONDITION, "AUTHENTICATION_DECIDED")
    assert (failure.outcome, failure.retry_seconds) == ("REJECTED", None)
    assert await _poll(running) == {"authenticationId": "authn-1", "status": "SUCCESSFUL"}


async def test_a_result_outlasts_the_gateway(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    async with running_gateway(sandbox, used) as running:
        await _complete(running, _request(_DENIED))

    async with running_gateway(sandbox, used) as running:
        assert (await _poll(running))["status"] == "FAILED"
        assert (await _refused(running, _request(_APPROVED))).reason == "AUTHENTICATION_DECIDED"


async def test_each_issuer_has_its_own_authentications(running_two: Running) -> None:
    await _complete(running_two, _request(_DENIED, issuer_id=SECOND_ISSUER))

    assert (await _poll(running_two))["status"] == "PENDING"
    assert (await _poll(running_two, SECOND_ISSUER))["status"] == "FAILED"


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        (consumer.CompleteAuthenticationRequest(), "result"),
        (_request(authentication.AUTHENTICATION_STATUS_PENDING), "result"),
        (_request(authentication_id="a/b"), "result.authentication_id"),
        (_request(_DENIED, error="x" * 257), "result.error"),
        (_request(issuer_id="short"), "issuer_id"),
    ],
)
async def test_a_wrong_field_is_named(
    running: Running, request_: consumer.CompleteAuthenticationRequest, wrong: str
) -> None:
    failure = await _refused(running, request_)

    assert (failure.code, failure.reason, failure.outcome) == (_Code.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT")
    assert set(failure.violations) == {wrong}
    assert (await _poll(running))["status"] == "PENDING"


async def test_the_issuer_has_to_be_one_that_is_served(running_two: Running) -> None:
    unknown = await _refused(running_two, _request(issuer_id="NOBODY0001"))
    unnamed = await _refused(running_two, _request())

    assert (unknown.code, unknown.reason) == (_Code.NOT_FOUND, "ISSUER_UNKNOWN")
    assert (unnamed.code, unnamed.reason) == (_Code.INVALID_ARGUMENT, "ISSUER_REQUIRED")


async def test_a_result_that_cannot_be_stored_now_is_retryable(running: Running) -> None:
    with closing(sqlite3.connect(running.event_log, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        failure = await _refused(running, _request())

    assert (failure.code, failure.reason) == (_Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert (failure.outcome, failure.retry_seconds) == ("REJECTED", 1.0)
    await _complete(running, _request())
