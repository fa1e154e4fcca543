"""Gateways with other settings of the edge, and certificates for their clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from sandbox import Sandbox
from sandbox.common.pki import Identity
from sandbox.common.tls import client_context
from sandbox.d1.callbacks.notifier import EdgeCredentials
from tests.integration.edge.edge_caller import EdgeCaller
from tests.running import Running, running_gateway, settings_for
from tests.unit.auth.auth_pki import Authority, Pair

__all__ = ["calling_with", "edge_with", "write_authority", "write_pair"]


@asynccontextmanager
async def edge_with(
    sandbox: Sandbox, folder: Path, *, oauth: EdgeCredentials | None = None, **edge: Any
) -> AsyncIterator[Running]:
    """Run a gateway with some settings of its edge overridden."""
    used = settings_for(sandbox, folder, oauth=oauth)
    changed = used.model_copy(update={"edge": used.edge.model_copy(update=edge)})
    async with running_gateway(sandbox, changed) as running:
        yield running


@asynccontextmanager
async def calling_with(
    running: Running, identity: Identity, server_ca: Path | None = None
) -> AsyncIterator[EdgeCaller]:
    """Call the edge with a certificate, and trust the sandbox's CA of servers unless another is given."""
    context = client_context(identity, server_ca or running.sandbox.pki.server_ca)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield await EdgeCaller.of(running, session)


def write_pair(folder: Path, name: str, pair: Pair) -> Identity:
    """Write a new certificate and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    certificate.write_bytes(pair.certificate)
    key.touch(mode=0o600)
    key.write_bytes(pair.key)
    return Identity(certificate, key)


def write_authority(folder: Path, authority: Authority) -> Path:
    """Write the certificate of a new authority."""
    file = folder / "authority.pem"
    file.write_bytes(authority.certificate)
    return file
