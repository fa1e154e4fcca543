"""Both listeners on an IPv6 address."""

from pathlib import Path

from grpc_health.v1 import health_pb2

from gateway import bootstrap
from sandbox import Sandbox
from sandbox.gateway import channel
from tests.running import settings_for


async def test_both_listeners_take_an_ipv6_address(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        settings = settings_for(sandbox, tmp_path)
        grpc, edge = (part.model_copy(update={"host": "::1"}) for part in (settings.grpc, settings.edge))
        async with bootstrap.running(settings.model_copy(update={"grpc": grpc, "edge": edge})) as addresses:
            assert addresses.grpc.startswith("[::1]:")
            assert addresses.edge.startswith("[::1]:")
            async with channel(addresses.grpc, sandbox.pki) as connected:
                check = connected.unary_unary(
                    "/grpc.health.v1.Health/Check",
                    request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                    response_deserializer=health_pb2.HealthCheckResponse.FromString,
                )
                response = await check(health_pb2.HealthCheckRequest(), timeout=5)
    assert response.status == health_pb2.HealthCheckResponse.SERVING
