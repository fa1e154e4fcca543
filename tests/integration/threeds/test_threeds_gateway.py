"""The whole gateway with a 3DS server behind it, and without one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr

from gateway.settings import SettingsError, ThreeDSSettings
from issuer.threeds.v1 import codes_pb2, service_pb2_grpc
from issuer.threeds.v1 import messages_pb2 as messages
from sandbox import Sandbox
from sandbox.threeds.encoding import decode
from tests.integration.threeds.fake_threeds import (
    ACS_TRANSACTION,
    API_KEY,
    ARES,
    CRD,
    HANG,
    PAN,
    RREQ,
    TRANSACTION,
    FakeThreeDS,
    an_areq,
    an_erro,
    reply,
)
from tests.running import Running, failure_of, running_gateway, settings_for

SERVICE = "issuer.threeds.v1.AuthenticationService"


@dataclass(frozen=True, slots=True)
class Door:
    """A running gateway, as a caller of AuthenticationService sees it."""

    running: Running
    stub: "service_pb2_grpc.AuthenticationServiceAsyncStub"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys") as started:
        yield started


@pytest.fixture
async def door(sandbox: Sandbox, threeds: FakeThreeDS, tmp_path: Path) -> AsyncIterator[Door]:
    connection = ThreeDSSettings(base_url=threeds.url, api_key=SecretStr(API_KEY), total_timeout_seconds=5)
    used = settings_for(sandbox, tmp_path).model_copy(update={"threeds": connection})
    async with running_gateway(sandbox, used) as running:
        yield Door(running, service_pb2_grpc.AuthenticationServiceStub(running.channel))


async def reflected(running: Running) -> set[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", running.channel))
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([asked]))
    names = {service.name for service in (await call.read()).list_services_response.service}
    call.cancel()
    return names


async def health_of(running: Running, service: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    return await stub.Check(health_pb2.HealthCheckRequest(service=service))


async def test_a_browsers_challenge_goes_through_from_lookup_to_result(threeds: FakeThreeDS, door: Door) -> None:
    challenged = ARES | {"transStatus": "C", "acsURL": "https://acs.example/challenge"}
    threeds.replies = [reply(CRD), reply(challenged), reply(an_erro("305")), reply(RREQ)]

    lookup = await door.stub.LookupCard(_lookup("https://requestor.example/done"), timeout=10)
    areq = an_areq(threeDSServerTransID=lookup.three_ds_server_trans_id)
    areq.message_version = lookup.message_version
    authenticated = await door.stub.Authenticate(_authenticate(areq), timeout=10)
    results = [await door.stub.GetChallengeResult(_result(), timeout=10) for _ in range(2)]

    assert decode(lookup.three_ds_method.data)["threeDSServerTransID"] == TRANSACTION
    assert authenticated.ares.trans_status == codes_pb2.TRANS_STATUS_CHALLENGE
    assert decode(authenticated.challenge.creq) == {
        "threeDSServerTransID": TRANSACTION,
        "acsTransID": ACS_TRANSACTION,
        "messageVersion": "2.2.0",
        "messageType": "CReq",
        "challengeWindowSize": "05",
    }
    assert [result.received for result in results] == [False, True]
    assert results[1].rreq.eci == "05"
    assert [seen.line.split()[1] for seen in threeds.seen] == ["/preauth", "/auth", "/postauth", "/postauth"]


async def test_an_erro_reaches_the_caller_with_its_fields(threeds: FakeThreeDS, door: Door) -> None:
    threeds.replies = [reply(an_erro("203", "D", errorDetail="purchaseDate"))]

    failure = await failure_of(door.stub.Authenticate(_authenticate(an_areq()), timeout=10))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (failure.reason, failure.outcome) == ("THREE_DS_REJECTED", "REJECTED")
    assert failure.metadata["upstream"] == "threeds"
    assert failure.metadata["error_component"] == "D"
    assert failure.metadata["error_detail"] == "purchaseDate"


async def test_a_wrong_api_key_is_the_operators_to_mend(threeds: FakeThreeDS, door: Door) -> None:
    threeds.replies = [reply(b"Invalid API Key", 401, "text/plain")]

    failure = await failure_of(door.stub.LookupCard(_lookup(), timeout=10))

    assert failure.code is grpc.StatusCode.INTERNAL
    assert failure.reason == "UPSTREAM_AUTHENTICATION"
    assert API_KEY not in failure.message


async def test_a_caller_learns_before_its_deadline_that_the_outcome_is_unknown(
    threeds: FakeThreeDS, door: Door
) -> None:
    threeds.replies = [HANG]

    failure = await failure_of(door.stub.Authenticate(_authenticate(an_areq()), timeout=1))

    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (failure.reason, failure.outcome) == ("DEADLINE_EXCEEDED", "UNKNOWN")
    assert len(threeds.seen) == 1


async def test_a_caller_that_leaves_takes_its_call_along(threeds: FakeThreeDS, door: Door) -> None:
    threeds.replies = [HANG]
    call = door.stub.Authenticate(_authenticate(an_areq()))
    await threeds.arrived(1)

    call.cancel()

    async with asyncio.timeout(5):
        await threeds.hung_up.wait()


async def test_the_service_is_listed_where_there_is_a_3ds_server(door: Door) -> None:
    assert SERVICE in await reflected(door.running)
    assert (await health_of(door.running, SERVICE)).status == health_pb2.HealthCheckResponse.SERVING


async def test_without_a_3ds_server_there_is_no_such_service(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path).model_copy(update={"threeds": None})
    async with running_gateway(sandbox, used) as running:
        stub = service_pb2_grpc.AuthenticationServiceStub(running.channel)
        with pytest.raises(grpc.aio.AioRpcError) as called:
            await stub.LookupCard(_lookup(), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as checked:
            await health_of(running, SERVICE)
        listed = await reflected(running)

    assert called.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert checked.value.code() is grpc.StatusCode.NOT_FOUND
    assert SERVICE not in listed


async def test_a_trusted_authority_that_is_none_is_refused_before_anything_starts(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    no_ca = tmp_path / "ca.pem"
    no_ca.write_text("nothing")
    connection = ThreeDSSettings(base_url="https://127.0.0.1:1", api_key=SecretStr(API_KEY), tls_ca_file=no_ca)
    used = settings_for(sandbox, tmp_path).model_copy(update={"threeds": connection})

    with pytest.raises(SettingsError) as caught:
        async with running_gateway(sandbox, used):
            pass

    assert caught.value.mistakes[0].startswith("threeds.tls_ca_file: ")


def _lookup(notification_url: str = "") -> messages.LookupCardRequest:
    return messages.LookupCardRequest(acct_number=PAN, three_ds_method_notification_url=notification_url)


def _authenticate(areq: Any) -> messages.AuthenticateRequest:
    return messages.AuthenticateRequest(areq=areq)


def _result() -> messages.GetChallengeResultRequest:
    return messages.GetChallengeResultRequest(three_ds_server_trans_id=TRANSACTION)
