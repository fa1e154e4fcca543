"""A SQLite event log moves from one release to the next, and back only where the older one can read it."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from d1_gateway_client import AsyncGatewayClient
from d1_gateway_client.contracts.issuer.notification.v1 import Notification as Received
from d1_gateway_client.contracts.issuer.notification.v1 import ResetSubscriptionRequest, StartPosition
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.clients.client_gateways import options_for

_SUBSCRIPTION = "audit"
_FROM_START = ResetSubscriptionRequest(subscription=_SUBSCRIPTION, position=StartPosition.EARLIEST)


@asynccontextmanager
async def _serving(
    sandbox: Sandbox, config: GatewayConfig, folder: Path, packages: Sequence[Path] = ()
) -> AsyncIterator[AsyncGatewayClient]:
    """Run a gateway for the duration of the block."""
    async with await GatewayProcess.start(config, folder, packages=packages) as gateway:
        sandbox.set_edge(gateway.edge)
        async with AsyncGatewayClient(options_for(gateway.grpc, sandbox.pki, server_name="localhost")) as client:
            yield client


async def _notify(sandbox: Sandbox, *operations: str) -> None:
    for each in operations:
        assert await sandbox.notifier.send(Notification("card_1", each, datetime.now(UTC))) == 204


async def _read(client: AsyncGatewayClient, count: int, after: str | None = None) -> tuple[list[str], str]:
    """Read some notifications from the earliest or a cursor on; return their operations and the last one's cursor."""
    operations: list[str] = []
    position = StartPosition.EARLIEST if after is None else None
    async with client.notifications.watch(after_cursor=after, position=position) as watch:
        async for each in watch:
            operations.append(_operation(each))
            if len(operations) == count:
                break
        return operations, watch.cursor


async def _commit(client: AsyncGatewayClient, count: int) -> list[str]:
    """Have the subscription receive and commit some notifications; return their operations."""
    operations = []
    async with client.notifications.watch(subscription=_SUBSCRIPTION) as watch:
        async for each in watch:
            operations.append(_operation(each))
            await watch.commit(each)
            if len(operations) == count:
                break
    return operations


def _operation(received: Received) -> str:
    assert received.three_ds_operation is not None
    return received.three_ds_operation.operation_id


def _schema(log: Path) -> int:
    with closing(sqlite3.connect(log)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def test_an_upgrade_keeps_notifications_cursors_and_subscriptions(
    release: Sequence[Path], tmp_path: Path
) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        config = GatewayConfig.of(sandbox, tmp_path)
        async with _serving(sandbox, config, tmp_path, release) as client:
            await _notify(sandbox, "op_1", "op_2", "op_3")
            _, cursor = await _read(client, 2)
            await client.notifications.reset_subscription(_FROM_START)
            await _commit(client, 1)

        async with _serving(sandbox, config, tmp_path) as client:
            await _notify(sandbox, "op_2", "op_4")
            assert (await _read(client, 4))[0] == ["op_1", "op_2", "op_3", "op_4"]
            assert (await _read(client, 2, cursor))[0] == ["op_3", "op_4"]
            assert await _commit(client, 3) == ["op_2", "op_3", "op_4"]


async def test_a_rollback_serves_the_log_or_refuses_it_untouched(release: Sequence[Path], tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        config = GatewayConfig.of(sandbox, tmp_path)
        async with _serving(sandbox, config, tmp_path, release):
            before = _schema(config.event_log)
        async with _serving(sandbox, config, tmp_path):
            await _notify(sandbox, "op_1")
        after = _schema(config.event_log)

        if after == before:
            async with _serving(sandbox, config, tmp_path, release) as client:
                await _notify(sandbox, "op_1", "op_2")
                assert (await _read(client, 2))[0] == ["op_1", "op_2"]
        else:
            await _refused(config, tmp_path, release, after)


async def test_a_log_of_a_newer_release_is_refused_untouched(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        config = GatewayConfig.of(sandbox, tmp_path)
        async with _serving(sandbox, config, tmp_path):
            await _notify(sandbox, "op_1")
        newer = _schema(config.event_log) + 1
        with closing(sqlite3.connect(config.event_log, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA user_version = {newer}")
        await _refused(config, tmp_path, (), newer)


async def _refused(config: GatewayConfig, folder: Path, packages: Sequence[Path], schema: int) -> None:
    """Check that a gateway does not start with a log, says why, and leaves the log as it is."""
    content = config.event_log.read_bytes()
    with pytest.raises(RuntimeError, match=rf"a newer version .+ it \(schema {schema}[,;] "):
        await GatewayProcess.start(config, folder, packages=packages)
    assert config.event_log.read_bytes() == content
