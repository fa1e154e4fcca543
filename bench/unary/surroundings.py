"""What a server of the comparison finds around it: where it calls, with what, and by which keys it serves."""

import gc
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import orjson

__all__ = ["TOKEN", "Surroundings", "collect_rarely"]

TOKEN: Final = f"token-{'t' * 600}"
"""D1's access token: as long as one is."""

# As `d1-gateway serve` has it, so that nobody is ahead by collecting less.
_GC_THRESHOLD: Final = (10_000, 20, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The same for all servers; the files are PEM."""

    issuer_id: str
    upstream_port: int
    """Where the upstream listens on loopback, over TLS with certificates on both sides."""
    server_ca: str
    """Whom to trust in the upstream."""
    client_certificate: str
    """What to show to the upstream."""
    client_key: str
    has_tls: bool
    """Whether the server itself serves over TLS."""
    certificate: str
    """What it shows then."""
    key: str
    contracts: str = str(Path(__file__).parents[2] / "proto" / "released.binpb")
    """A descriptor set, for who has no code made from it."""
    connections: int = 64
    """To the upstream at most: as the gateway has it."""
    idle_seconds: float = 60.0
    """How long a connection to the upstream is kept: longer than it is the others' turn."""
    token: str = TOKEN
    encrypted_data: str = f"{'h' * 270}..{'i' * 16}.{'c' * 52}.{'t' * 22}"
    """Card data for who does not encrypt them: as long as the compact JWE that the gateway makes."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**orjson.loads(text))

    def to_json(self) -> str:
        """Write it for another process."""
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
        """Make the TLS context for calls of the upstream."""
        context = ssl.create_default_context(cafile=self.server_ca)
        context.load_cert_chain(self.client_certificate, self.client_key)
        return context


def collect_rarely() -> None:
    """Set the garbage collector as the gateway has it."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
