"""A gateway of its own for a sandbox: its settings, and the process that serves with them."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import orjson

from sandbox.d1.notifier import EdgeCredentials
from sandbox.pki import CALLER, Identity, Pki
from sandbox.sandbox import Sandbox

__all__ = ["GatewayConfig", "GatewayProcess", "channel", "credentials", "write_policy"]

_LOG = "d1-gateway.log"
_READY_SECONDS = 20.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The settings of a gateway that uses a sandbox."""

    issuer_id: str
    pki: Pki
    d1_url: str
    event_log: Path
    policy: Path
    """Who may call what."""
    threeds_url: str | None = None
    """Where the 3-D Secure server is; None for a gateway without one."""
    threeds_api_key_file: Path | None = None
    grpc_port: int = 0
    edge_port: int = 0
    oauth: EdgeCredentials | None = None
    """With what D1 fetches tokens; None where the client certificate alone is asked for."""
    retention_seconds: float = 86_400.0
    assertion_keys: tuple[Path, ...] = ()
    """The private JWKs that sign assertions, the one to be tried first in front. Empty: the one that D1 began with."""
    d1_encryption_keys: tuple[tuple[Path, datetime | None], ...] = ()
    """D1's public JWKs, each with when it is used from. Empty: the one that D1 began with."""

    @classmethod
    def of(cls, sandbox: Sandbox, folder: Path, *, oauth: EdgeCredentials | None = None) -> Self:
        """Make the settings for a sandbox, with the event log in a folder."""
        api_key_file = folder / "threeds-api-key"
        api_key_file.touch(mode=0o600)
        api_key_file.write_text(sandbox.threeds_api_key)
        return cls(
            sandbox.issuer_id,
            sandbox.pki,
            sandbox.d1_url,
            folder / "d1-gateway.db",
            write_policy(folder / "policy.toml"),
            threeds_url=sandbox.threeds_url,
            threeds_api_key_file=api_key_file,
            oauth=oauth,
        )

    def to_toml(self) -> str:
        """Write them as the gateway reads them."""
        pki = self.pki
        tables: dict[str, Mapping[str, object] | Sequence[Mapping[str, object]]] = {
            "grpc": {
                "port": self.grpc_port,
                "tls_certificate_file": pki.grpc_server.certificate,
                "tls_key_file": pki.grpc_server.key,
                "tls_client_ca_file": pki.caller_ca,
            },
            "access": {"policy_file": self.policy},
            "edge": {
                "port": self.edge_port,
                "tls_certificate_file": pki.edge_server.certificate,
                "tls_key_file": pki.edge_server.key,
                "tls_client_ca_file": pki.d1_client_ca,
            },
            "d1": {
                "base_url": self.d1_url,
                "tls_ca_file": pki.server_ca,
                "tls_certificate_file": pki.gateway_client.certificate,
                "tls_key_file": pki.gateway_client.key,
            },
            f"issuers.{self.issuer_id}.assertion_keys": [
                {"file": file, "kid": _kid(file)} for file in self.assertion_keys or (pki.assertion_key,)
            ],
            f"issuers.{self.issuer_id}.d1_encryption_keys": [
                {"file": file, "kid": _kid(file), **({} if time is None else {"active_from": time})}
                for file, time in self.d1_encryption_keys or ((pki.encryption_public_key, None),)
            ],
            "admin": {"port": 0},
            "event_log": {"path": self.event_log, "retention_seconds": self.retention_seconds},
        }
        if self.threeds_url is not None and self.threeds_api_key_file is not None:
            tables["threeds"] = {
                "base_url": self.threeds_url,
                "api_key_file": self.threeds_api_key_file,
                "tls_ca_file": pki.server_ca,
            }
        if self.oauth is not None:
            tables["edge.oauth"] = {
                "client_id": self.oauth.client_id,
                "client_secret_sha256": hashlib.sha256(self.oauth.client_secret.encode()).hexdigest(),
                "scope": self.oauth.scope or "",
                "signing_key_file": pki.edge_token_key,
            }
        return "\n".join(_toml(name, values) for name, values in tables.items())


@dataclass(frozen=True, slots=True)
class _Ready:
    grpc: str
    edge: str
    admin: str


class GatewayProcess:
    """A gateway in a process of its own, started as in production: ``d1-gateway serve``."""

    def __init__(self, process: asyncio.subprocess.Process, config: GatewayConfig, folder: Path, ready: _Ready) -> None:
        """Hold a gateway that is ready; `start` makes one."""
        self._process = process
        self._config = config
        self._folder = folder
        self._ready = ready

    @classmethod
    async def start(cls, config: GatewayConfig, folder: Path) -> Self:
        """Start a gateway and wait until it is ready.

        Args:
            config: Its settings.
            folder: Where its settings and its log go.

        Raises:
            RuntimeError: It did not become ready; the text is what it said.
        """
        process, ready = await _start(config, folder)
        return cls(process, config, folder, ready)

    async def restart(self) -> None:
        """Kill it as a power cut would (SIGKILL), and start it again at the same addresses."""
        await self.kill()
        config = replace(self._config, grpc_port=_port(self._ready.grpc), edge_port=_port(self._ready.edge))
        self._process, self._ready = await _start(config, self._folder)

    @property
    def grpc(self) -> str:
        """Where internal callers connect: ``host:port``."""
        return self._ready.grpc

    @property
    def edge(self) -> str:
        """Where D1 calls back: ``https://host:port``."""
        return f"https://{self._ready.edge}"

    @property
    def admin(self) -> str:
        """Where metrics and probes are: ``http://host:port``."""
        return f"http://{self._ready.admin}"

    @property
    def log(self) -> Path:
        """What it logged since its last start: one JSON object a line."""
        return self._folder / _LOG

    async def stop(self) -> int:
        """End it gracefully (SIGTERM); returns its exit status."""
        return await _end(self._process, signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        await _end(self._process, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


@asynccontextmanager
async def channel(address: str, pki: Pki) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to a gateway's gRPC listener over TLS."""
    async with grpc.aio.secure_channel(address, credentials(pki.server_ca, pki.caller)) as connected:
        yield connected


def credentials(server_ca: Path, caller: Identity) -> grpc.ChannelCredentials:
    """Make the credentials of an internal service: whom it trusts, and what it shows."""
    return grpc.ssl_channel_credentials(
        server_ca.read_bytes(),
        private_key=caller.key.read_bytes(),
        certificate_chain=caller.certificate.read_bytes(),
    )


def write_policy(path: Path) -> Path:
    """Write a policy that grants `CALLER` everything, and nobody else anything."""
    path.write_text(f"""[[callers]]
identity = "{CALLER}"
grants = [{{ rpcs = ["*"], issuers = ["*"] }}]
""")
    return path


async def _start(config: GatewayConfig, folder: Path) -> tuple[asyncio.subprocess.Process, _Ready]:
    settings, log = folder / "d1-gateway.toml", folder / _LOG
    settings.write_text(config.to_toml())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("D1_GATEWAY_")}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(settings)), stderr=stderr, env=environment
        )
    try:
        async with asyncio.timeout(_READY_SECONDS):
            # A file that another process writes has no event to wait for.
            while (ready := _ready(log)) is None and process.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except BaseException:
        await _end(process, signal.SIGKILL)
        raise
    if ready is None:
        raise RuntimeError(f"The gateway ended with {process.returncode}: {log.read_text().strip()}")
    return process, ready


async def _end(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    if process.returncode is None:
        process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
    return await process.wait()


def _ready(log: Path) -> _Ready | None:
    for line in log.read_bytes().splitlines(keepends=True):
        if b'"event":"ready"' in line and line.endswith(b"\n"):
            logged = orjson.loads(line)
            return _Ready(logged["grpc"], logged["edge"], logged["admin"])
    return None


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _kid(jwk: Path) -> str:
    return str(orjson.loads(jwk.read_bytes())["kid"])


def _toml(name: str, values: Mapping[str, object] | Sequence[Mapping[str, object]]) -> str:
    if isinstance(values, Mapping):
        return _table(f"[{name}]", values)
    return "\n".join(_table(f"[[{name}]]", each) for each in values)


def _table(header: str, values: Mapping[str, object]) -> str:
    return "\n".join([header, *(f"{key} = {_value(value)}" for key, value in values.items())]) + "\n"


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    # A JSON string or number is one of TOML's too.
    return orjson.dumps(str(value) if isinstance(value, Path) else value).decode()
