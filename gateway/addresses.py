"""Where the gateway listens."""

from dataclasses import dataclass

__all__ = ["Addresses", "join"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway listens, as ``host:port``."""

    grpc: str
    edge: str


def join(host: str, port: int) -> str:
    """Join host and port; an IPv6 address gets its brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
