"""Key rotations as in docs/keys.md, while a gateway and D1 keep working."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp
import grpc
import pytest

from sandbox import Sandbox
from sandbox.d1.callbacks.edge_client import EdgeCredentials
from sandbox.d1.model.notification import Notification, new_operation_id
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.calls import Calls, register
from tests.e2e.command import GATEWAY, invoked
from tests.e2e.locked_keys import lock, locked, written
from tests.e2e.watching import connect

_AHEAD = timedelta(seconds=3)
_SWITCH_SECONDS = 30.0
_PASSPHRASE = b"a passphrase"
_TAKEN = "assertion_key_switched"


class Thales:
    """D1's operator, who registers and removes keys on request."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def register(self, public_jwk: bytes) -> None:
        await self._session.post("/sandbox/keys/assertion", data=public_jwk)

    async def make_encryption_key(self) -> bytes:
        """Make a key; returns its public JWK."""
        async with self._session.post("/sandbox/keys/encryption") as answer:
            return await answer.read()

    async def remove(self, kind: str, kid: str) -> None:
        await self._session.delete(f"/sandbox/keys/{kind}/{kid}")

    async def expire_tokens(self) -> None:
        """Have the gateway fetch the next token now, and not in a quarter of an hour."""
        await self._session.post("/sandbox/tokens/expire")

    async def uses(self, kind: str) -> dict[str, int]:
        """Tell, by kid, how much D1 was sent under each key."""
        async with self._session.get("/sandbox/keys") as answer:
            return {each["kid"]: each["lookups"] for each in (await answer.json())[kind]}


@dataclass(slots=True)
class Issuer:
    """Who runs the gateway: starts an instance with other settings and ends the one before, while calls go on."""

    sandbox: Sandbox
    folder: Path
    stack: AsyncExitStack
    calls: Calls = field(init=False)
    gateway: GatewayProcess = field(init=False)

    async def roll(self, **keys: object) -> None:
        """Replace the instance by one with other keys (see `GatewayConfig`)."""
        before = self.gateway
        await self.calls.move(await self.start(**keys))
        assert await before.stop() == 0

    def logged(self, event: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in self.gateway.log.read_text().splitlines()]
        return [entry for entry in entries if entry["event"] == event]

    async def start(self, **keys: Any) -> grpc.aio.Channel:
        folder = Path(mkdtemp(dir=self.folder))
        config = replace(GatewayConfig.of(self.sandbox, folder), **keys)
        self.gateway = await GatewayProcess.start(config, folder)
        await self.stack.enter_async_context(self.gateway)
        return await self.stack.enter_async_context(connect(self.gateway.grpc, self.sandbox.pki))


@pytest.fixture
async def thales(sandbox: Sandbox) -> AsyncIterator[Thales]:
    async with aiohttp.ClientSession(sandbox.control_url, raise_for_status=True) as session:
        yield Thales(session)


@pytest.fixture
async def issuer(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Issuer]:
    async with AsyncExitStack() as stack:
        issuer = Issuer(sandbox, tmp_path, stack)
        async with Calls.running(await issuer.start()) as issuer.calls:
            await issuer.calls.go_on()
            yield issuer


def _kid(jwk: Path) -> str:
    return str(json.loads(jwk.read_bytes())["kid"])


async def _new_assertion_key(folder: Path) -> tuple[Path, bytes]:
    """Make a key as an operator does; returns the file of the private JWK, and the public one."""
    await invoked(GATEWAY, "keys", "assertion", "--folder", folder, "--name", "assertion-2")
    return folder / "assertion-2.jwk.json", (folder / "assertion-2-public.jwk.json").read_bytes()


@pytest.mark.parametrize("order", ["D1 first", "we first"])
async def test_the_assertion_key_is_replaced_in_either_order_and_no_call_fails(
    sandbox: Sandbox, thales: Thales, issuer: Issuer, tmp_path: Path, order: str
) -> None:
    old, (new, public_jwk) = sandbox.pki.assertion_key, await _new_assertion_key(tmp_path)

    if order == "D1 first":
        await thales.register(public_jwk)
    await issuer.roll(assertion_keys=(new, old))
    if order == "we first":
        await thales.register(public_jwk)
    await thales.expire_tokens()
    await issuer.calls.go_on()
    await thales.remove("assertion", _kid(old))
    await thales.expire_tokens()
    await issuer.calls.go_on()
    switches = [(entry["refused_kid"], entry["kid"]) for entry in issuer.logged(_TAKEN)]
    await issuer.roll(assertion_keys=(new,))

    there_and_back = [(_kid(new), _kid(old)), (_kid(old), _kid(new))]
    assert switches == (there_and_back if order == "we first" else [])
    assert set(await thales.uses("assertion")) == {_kid(new)}
    assert issuer.calls.failures == []


async def test_d1s_encryption_key_is_replaced_at_the_agreed_moment_and_no_call_fails(
    sandbox: Sandbox, thales: Thales, issuer: Issuer, tmp_path: Path
) -> None:
    old = sandbox.pki.encryption_public_key
    new = written(tmp_path / "d1-encryption-2.jwk.json", await thales.make_encryption_key())
    moment = datetime.now(UTC) + _AHEAD

    await issuer.roll(d1_encryption_keys=((old, None), (new, moment)))
    async with asyncio.timeout(_SWITCH_SECONDS):
        while (await thales.uses("encryption"))[_kid(new)] == 0:  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.02)
    seen = time.time()
    await issuer.calls.go_on()
    before = await thales.uses("encryption")
    await issuer.calls.go_on()
    after = await thales.uses("encryption")
    await thales.remove("encryption", _kid(old))
    await issuer.calls.go_on()
    await issuer.roll(d1_encryption_keys=((new, moment),))

    assert seen >= moment.timestamp(), "the new key was used too early"
    assert after[_kid(old)] == before[_kid(old)] > 0
    assert after[_kid(new)] > before[_kid(new)]
    assert issuer.calls.failures == []


@dataclass(frozen=True)
class _Locked(GatewayConfig):
    """A gateway of which every private key is behind a passphrase."""

    passphrase_file: Path = Path()

    def to_toml(self) -> str:
        toml = GatewayConfig.to_toml(self)
        for key in (self.pki.assertion_key, self.pki.edge_token_key):
            toml = toml.replace(str(key), str(locked(key, _PASSPHRASE)))
        # Every table that names a private key.
        return re.sub(
            r"^(tls_key_|signing_key_|)file = .+(-key|assertion|edge-token)\.pem\"$",
            rf'\g<0>\n\g<1>passphrase_file = "{self.passphrase_file}"',
            toml,
            flags=re.MULTILINE,
        )


async def test_a_gateway_serves_with_every_key_behind_a_passphrase(tmp_path: Path) -> None:
    oauth = EdgeCredentials("d1", "client-secret", "notifications")
    async with Sandbox.start(tmp_path / "keys", edge_credentials=oauth) as sandbox:
        passphrase_file = written(tmp_path / "passphrase", _PASSPHRASE + b"\n")
        config = replace(_Locked.of(sandbox, tmp_path, oauth=oauth), passphrase_file=passphrase_file)
        for identity in (config.pki.grpc_server, config.pki.edge_server, config.pki.gateway_client):
            lock(identity, _PASSPHRASE)
        assert config.to_toml().count("passphrase_file") == 5
        async with (
            await GatewayProcess.start(config, tmp_path) as gateway,
            connect(gateway.grpc, sandbox.pki) as channel,
        ):
            sandbox.set_edge(gateway.edge)
            await register(channel, "card_1")
            operation = Notification("card_1", new_operation_id(), datetime.now(UTC), operation="3DS_FRICTIONLESS")
            status = await sandbox.notifier.send(operation)
            log = gateway.log.read_bytes()

    assert status == 204
    assert _PASSPHRASE not in log
