"""Where the gateway listens."""

import os
from dataclasses import dataclass

__all__ = ["Addresses", "cannot_listen", "join"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway listens, as ``host:port``."""

    grpc: str
    edge: str
    admin: str


def cannot_listen(listener: str, host: str, port: int, error: OSError) -> OSError:
    """Make the error that says in one line which listener cannot have its port, and why.

    Args:
        listener: Its table in the settings.
        host: Address to listen on.
        port: TCP port.
        error: What the system says of it.
    """
    # What Python adds to the system's own word is the address once more. Of a name that does not resolve it adds none.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return OSError(f"{listener}: cannot listen on {join(host, port)}: {reason}")


def join(host: str, port: int) -> str:
    """Join host and port; an IPv6 address gets its brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
