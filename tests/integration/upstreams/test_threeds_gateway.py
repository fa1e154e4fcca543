"""The whole gateway with a 3DS server behind it, and without one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr

from gateway.settings import Settings, SettingsError, ThreeDSSettings
from sandbox import Sandbox
from tests.integration.upstreams.fake_threeds import API_KEY
from tests.running import Running, running_gateway, settings_for

SERVICE = "issuer.threeds.v1.AuthenticationService"


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("keys")) as started:
        yield started


@pytest.fixture
def used(sandbox: Sandbox, tmp_path: Path) -> Settings:
    return settings_for(sandbox, tmp_path)


async def reflected(running: Running) -> set[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", running.channel))
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in (await call.read()).list_services_response.service}
    call.cancel()
    return names


@pytest.mark.parametrize("configured", [True, False])
async def test_the_service_is_listed_where_there_is_a_3ds_server(
    sandbox: Sandbox, used: Settings, *, configured: bool
) -> None:
    changes = {} if configured else {"threeds": None}
    async with running_gateway(sandbox, used.model_copy(update=changes)) as running:
        assert (SERVICE in await reflected(running)) is configured


async def test_a_trusted_authority_that_is_none_is_refused_before_anything_starts(
    sandbox: Sandbox, used: Settings, tmp_path: Path
) -> None:
    no_ca = tmp_path / "ca.pem"
    no_ca.write_text("nothing")
    connection = ThreeDSSettings(base_url="https://127.0.0.1:1", api_key=SecretStr(API_KEY), tls_ca_file=no_ca)

    with pytest.raises(SettingsError) as caught:
        async with running_gateway(sandbox, used.model_copy(update={"threeds": connection})):
            pass

    assert caught.value.mistakes[0].startswith("threeds.tls_ca_file: ")
