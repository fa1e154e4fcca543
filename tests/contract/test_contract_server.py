"""The gRPC server as a whole: health, reflection, limits and shutdown."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway import bootstrap
from gateway.grpc_api import reflection
from gateway.settings import SettingsError
from issuer.card.v1 import messages_pb2 as card
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.common.tls import client_context
from sandbox.d1.model.contract import CardState
from sandbox.gateway import credentials
from tests.contract.card_rpcs import RPCS
from tests.contract.d1_rpcs import THREEDS_RPCS
from tests.contract.watching import watching
from tests.fault.attacks.hostile import connections, message_head
from tests.running import Error, Running, code_of, connected, failure_of, running_gateway, settings_for

_AUTHENTICATION = "issuer.threeds.v1.AuthenticationService"
_SERVICES = (
    "issuer.callback.v1.CallbackService",
    "issuer.card.v1.CardService",
    "issuer.consumer.v1.ConsumerService",
    "issuer.notification.v1.NotificationService",
    _AUTHENTICATION,
    "issuer.threeds.v1.ThreeDSOperationService",
)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def _ending(
    sandbox: Sandbox, folder: Path, grace_seconds: float
) -> AsyncIterator[tuple[Running, Callable[[], Coroutine[Any, Any, None]]]]:
    """Run a gateway that a test stops while its callers are connected."""
    used = settings_for(sandbox, folder, drain_grace_seconds=grace_seconds)
    async with AsyncExitStack() as callers, AsyncExitStack() as gateway:
        addresses = await gateway.enter_async_context(bootstrap.running(used))
        yield await callers.enter_async_context(connected(sandbox, used, addresses)), gateway.aclose


def _health(channel: grpc.aio.Channel) -> Any:
    # The stubs lack this attribute.
    return health_pb2_grpc.HealthStub(channel)


async def _check(running: Running, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    response = await _health(running.channel).Check(request, timeout=10)
    return int(response.status)


async def test_health_is_reported_for_each_service_and_for_the_whole(running: Running) -> None:
    for service in ("", *_SERVICES):
        assert await _check(running, service) == _SERVING, service
    assert await code_of(_check(running, "issuer.card.v1.NoService")) is grpc.StatusCode.NOT_FOUND
    listed = await _health(running.channel).List(cast("Any", health_pb2).HealthListRequest(), timeout=10)
    assert {name: each.status for name, each in listed.statuses.items()} == dict.fromkeys(("", *_SERVICES), _SERVING)


async def test_a_caller_gets_no_connection_without_tls_a_certificate_or_trust_in_the_gateways(running: Running) -> None:
    pki, address = running.sandbox.pki, running.addresses.grpc
    nobody = grpc.ssl_channel_credentials(pki.server_ca.read_bytes())
    for channel in (
        grpc.aio.insecure_channel(address),
        grpc.aio.secure_channel(address, nobody),
        grpc.aio.secure_channel(address, credentials(pki.d1_client_ca, pki.caller)),
    ):
        async with channel:
            check = _health(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert await code_of(check) is grpc.StatusCode.UNAVAILABLE


async def test_without_a_3ds_server_its_service_is_not_there_and_the_others_are(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    used = settings_for(sandbox, tmp_path).model_copy(update={"threeds": None})
    async with running_gateway(sandbox, used) as running:
        for rpc in THREEDS_RPCS.values():
            failure = await failure_of(rpc.call(running))
            assert failure.error == Error(grpc.StatusCode.UNIMPLEMENTED, "RPC_UNKNOWN", "NOT_SENT")
            assert failure.message == f"{_AUTHENTICATION} is not configured at this gateway."
        assert await code_of(_check(running, _AUTHENTICATION)) is grpc.StatusCode.NOT_FOUND
        assert await _check(running, "") == _SERVING
        await RPCS["SuspendCard"].call(running)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/issuer.card.v1.CardService/Suspend",
            "issuer.card.v1.CardService has no rpc Suspend; it has CreateCard, RegisterCard, ",
        ),
        ("/CardService/SuspendCard", "This gateway has no service CardService; it serves grpc.health.v1.Health, "),
        ("/", "This gateway has no service ; it serves "),
        ("/4970101234567890/x", "This gateway has no service ****; it serves "),
        (f"/{'x' * 1000}/y", f"This gateway has no service {'x' * 120}...; it serves "),
    ],
    ids=["unknown rpc", "no package", "no name", "a card number", "long"],
)
async def test_an_unknown_rpc_is_told_what_is_served(running: Running, path: str, message: str) -> None:
    call: Any = running.channel.unary_unary(path)
    failure = await failure_of(call(b"anything", timeout=10))
    assert failure.error == Error(grpc.StatusCode.UNIMPLEMENTED, "RPC_UNKNOWN", "NOT_SENT")
    assert failure.message.startswith(message)
    served = [rpc for rpc in RPCS if path.startswith("/issuer.card.v1.CardService/")] or _SERVICES
    assert [name for name in served if name not in failure.message] == []


async def _reflect(
    running: Running, request: reflection_pb2.ServerReflectionRequest
) -> reflection_pb2.ServerReflectionResponse:
    # The stubs know only the channels of threads.
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", running.channel))
    async for response in stub.ServerReflectionInfo(iter([request]), timeout=10):
        assert isinstance(response, reflection_pb2.ServerReflectionResponse)
        return response
    raise AssertionError("no response")


async def test_reflection_lists_every_service(running: Running) -> None:
    response = await _reflect(running, reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in response.list_services_response.service}
    assert listed == {*_SERVICES, "grpc.health.v1.Health", *reflection.SERVICES}


async def _fetch(running: Running, pool: descriptor_pool.DescriptorPool, file: str, known: set[str]) -> None:
    """Fetch a file and its imports, as a client without the contracts does."""
    if file in known:
        return
    known.add(file)
    response = await _reflect(running, reflection_pb2.ServerReflectionRequest(file_by_filename=file))
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(serialised)
        for serialised in response.file_descriptor_response.file_descriptor_proto
    ]
    (wanted,) = (each for each in files if each.name == file)
    for imported in wanted.dependency:
        await _fetch(running, pool, imported, known)
    pool.Add(wanted)


async def test_reflection_resolves_a_rule_by_its_number(running: Running) -> None:
    rule = reflection_pb2.ExtensionRequest(containing_type="google.protobuf.FieldOptions", extension_number=1159)
    response = await _reflect(running, reflection_pb2.ServerReflectionRequest(file_containing_extension=rule))
    serialised = response.file_descriptor_response.file_descriptor_proto[0]
    assert descriptor_pb2.FileDescriptorProto.FromString(serialised).name == "buf/validate/validate.proto"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_reflections_are_the_same_and_resolve_themselves(running: Running, version: str) -> None:
    service = f"grpc.reflection.{version}.ServerReflection"
    reflect: Any = running.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
    (response,) = [each async for each in reflect(iter([request]), timeout=10)]
    (serialised,) = response.file_descriptor_response.file_descriptor_proto
    file = descriptor_pb2.FileDescriptorProto.FromString(serialised)
    assert file.package == f"grpc.reflection.{version}"
    assert file.service[0].method[0].input_type == f".grpc.reflection.{version}.ServerReflectionRequest"


@pytest.mark.parametrize("service", _SERVICES)
async def test_reflection_resolves_a_service_with_all_that_it_imports(running: Running, service: str) -> None:
    pool, known = descriptor_pool.DescriptorPool(), set[str]()
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
    response = await _reflect(running, request)
    serialised = response.file_descriptor_response.file_descriptor_proto[0]
    await _fetch(running, pool, descriptor_pb2.FileDescriptorProto.FromString(serialised).name, known)
    assert "buf/validate/validate.proto" in known
    found = pool.FindServiceByName(service)
    rules = pool.FindExtensionByName("buf.validate.field")
    assert rules.message_type is not None
    assert rules.message_type.full_name == "buf.validate.FieldRules"
    for method in found.methods:
        # A handler names its issuers at registration.
        assert method.client_streaming or method.input_type.fields_by_name["issuer_id"].number == 1


async def test_a_request_that_is_too_large_is_refused(running: Running) -> None:
    request = card.DeleteCardRequest(card_id="card-active", reason_code="X", reason="x" * 2_000_000)
    assert await code_of(running.cards.DeleteCard(request, timeout=10)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.sandbox.store.card("card-active").state is CardState.ACTIVE


async def test_a_call_in_flight_finishes_while_watchers_and_standbys_drain(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add(Fault(RPCS["SuspendCard"].operation, latency_ms=1_500))
    async with (
        _ending(sandbox, tmp_path, grace_seconds=10.0) as (running, stop),
        watching(running) as watch,
        watching(running, subscription="billing") as active,
        watching(running, subscription="billing") as standby,
    ):
        watches = (watch, active, standby)
        for each in watches:
            await each.batch()
        health = _health(running.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == _SERVING
        in_flight = asyncio.create_task(RPCS["SuspendCard"].call(running))
        await _called(sandbox)
        stopping = asyncio.create_task(stop())
        for each in watches:
            failure = await each.failure()
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
            assert failure.outcome == "NOT_SENT"
        assert (await health.read()).status == _NOT_SERVING
        health.cancel()
        assert not in_flight.done()
        assert await code_of(RPCS["DeleteCard"].call(running, timeout=5)) is grpc.StatusCode.UNAVAILABLE
        assert await in_flight == card.SuspendCardResponse()
        await stopping
    states = {each.card_id: each.state for each in sandbox.store.cards()}
    assert states["card-active"] is CardState.SUSPENDED


async def test_a_shutdown_takes_no_longer_than_its_grace(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add(Fault(RPCS["SuspendCard"].operation, latency_ms=30_000, status=503))
    async with _ending(sandbox, tmp_path, grace_seconds=0.5) as (running, stop):
        in_flight = asyncio.create_task(RPCS["SuspendCard"].call(running, timeout=30))
        await _called(sandbox)
        began = time.perf_counter()
        await stop()
        assert 0.4 < time.perf_counter() - began < 15.0
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await in_flight
    assert cut.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


@pytest.mark.parametrize(
    ("path", "data", "ends"),
    [
        ("/issuer.card.v1.CardService/SuspendCard", b"", True),
        ("/issuer.card.v1.CardService/SuspendCard", message_head(100), False),
        ("/issuer.notification.v1.NotificationService/WatchNotifications", message_head(100), False),
        ("/issuer.callback.v1.CallbackService/HandleCallbacks", b"", False),
        ("/grpc.health.v1.Health/Watch", message_head(0), False),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"", False),
    ],
    ids=["no request", "half a request", "half a watch", "no registration", "health", "reflection"],
)
async def test_a_shutdown_does_not_wait_for_callers_that_send_nothing_more(
    sandbox: Sandbox, tmp_path: Path, path: str, data: bytes, *, ends: bool
) -> None:
    tls = client_context(sandbox.pki.caller, sandbox.pki.server_ca)
    async with (
        _ending(sandbox, tmp_path, grace_seconds=30.0) as (running, stop),
        connections(running.addresses.grpc, 1, tls) as (caller,),
    ):
        caller.request(path, data, ends=ends)
        # One that waits for more has begun by then.
        await asyncio.sleep(0.2)
        async with asyncio.timeout(15):
            await stop()
        assert caller.open_streams == 0


async def test_connections_beyond_the_limit_are_closed_and_those_before_are_served(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    used = settings_for(sandbox, tmp_path)
    limited = used.model_copy(update={"grpc": used.grpc.model_copy(update={"max_connections": 3})})
    async with running_gateway(sandbox, limited) as running:
        await _check(running, "")
        host, _, port = running.addresses.grpc.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        async with asyncio.timeout(5):
            while sum(end.done() for end in ends) < 2:  # noqa: ASYNC110 (as each is closed by itself)
                await asyncio.sleep(0.01)
        await _check(running, "")
        assert sum(end.done() for end in ends) == 2
        for _, writer in silent:
            writer.transport.abort()
        await asyncio.gather(*ends, return_exceptions=True)


async def test_the_same_event_log_serves_one_gateway_at_a_time(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    async with running_gateway(sandbox, used):
        with pytest.raises(SettingsError, match="in use by another process"):
            async with bootstrap.running(used):
                pass
    async with running_gateway(sandbox, used) as running:
        assert await _check(running, "") == _SERVING


async def _called(sandbox: Sandbox) -> None:
    """Wait until D1 has used the only pending fault."""
    async with asyncio.timeout(10):
        # A used fault sends no event.
        while sandbox.faults._pending:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
