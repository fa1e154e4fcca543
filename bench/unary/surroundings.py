"""The environment of a compared server: its upstream, credentials and keys."""

import gc
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import orjson

__all__ = ["TOKEN", "Surroundings", "collect_rarely"]

TOKEN: Final = f"token-{'t' * 600}"
"""D1's access token, of realistic length."""

# As in `d1-gateway serve`, so that no server gains by collecting garbage less often.
_GC_THRESHOLD: Final = (10_000, 20, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The same for all servers; the files are PEM."""

    issuer_id: str
    upstream_port: int
    """The upstream's port on loopback, with mutual TLS."""
    server_ca: str
    """The CA of the upstream."""
    client_certificate: str
    """The client certificate for the upstream."""
    client_key: str
    has_tls: bool
    """Whether the server itself serves over TLS."""
    certificate: str
    """The server's own certificate."""
    key: str
    contracts: str = str(Path(__file__).parents[2] / "proto" / "released.binpb")
    """A descriptor set, for servers without generated code."""
    connections: int = 64
    """The maximum number of connections to the upstream, as in the gateway."""
    idle_seconds: float = 60.0
    """How long an upstream connection is kept: longer than the turns of the other servers."""
    token: str = TOKEN
    encrypted_data: str = f"{'h' * 270}..{'i' * 16}.{'c' * 52}.{'t' * 22}"
    """Card data for servers that do not encrypt: as long as the gateway's compact JWE."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the JSON of `to_json`."""
        return cls(**orjson.loads(text))

    def to_json(self) -> str:
        """Return it as JSON for another process."""
        return orjson.dumps(asdict(self)).decode()

    @property
    def upstream_url(self) -> str:
        """The upstream's address, without a path."""
        return f"https://127.0.0.1:{self.upstream_port}"

    @property
    def cards(self) -> str:
        """The path of D1's cards."""
        return f"/banking/v2/issuers/{self.issuer_id}/cards"

    def upstream_context(self) -> ssl.SSLContext:
        """Return the TLS context for upstream calls."""
        context = ssl.create_default_context(cafile=self.server_ca)
        context.load_cert_chain(self.client_certificate, self.client_key)
        return context


def collect_rarely() -> None:
    """Set the garbage collector as in the gateway."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
