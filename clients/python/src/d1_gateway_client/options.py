"""Where the gateway is, who the caller is, and how long calls may take."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Options"]

_PREFIX = "D1_GATEWAY_CLIENT_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to reach the gateway. The connection is always TLS.

    Raises:
        ValueError: They cannot be used together, or a number is out of its range.
    """

    address: str
    """``host:port`` of the gateway's gRPC listener, or any other target that gRPC knows (``dns:///gateway:8443``)."""
    ca_file: Path | None = None
    """Whom to trust, PEM. None: the authorities that gRPC ships."""
    certificate_file: Path | None = None
    """The client certificate and those that it hangs on, PEM. None: none is shown."""
    key_file: Path | None = None
    """The private key of the certificate, PEM."""
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    """A bearer token (JWT), or what returns one: it is called before every call, in a thread if the client is async."""
    token_file: Path | None = None
    """A file with the bearer token, read before every call, so that it can be renewed."""
    server_name: str | None = None
    """The name in the gateway's certificate, where it is not the address's. None: the address's."""
    deadline_seconds: float = 10.0
    """How long a call may take with all its retries, unless it says otherwise itself."""
    keepalive_seconds: float = 20.0
    """After how much silence the link is tried. The gateway asks for at least 10."""
    max_attempts: int = 5
    """How often a call is made at most, the first time included. 1: no retries."""

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address: say where the gateway is")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file, key_file: set both or none")
        if self.token is not None and self.token_file is not None:
            raise ValueError("token, token_file: set one of them")
        if self.deadline_seconds <= 0:
            raise ValueError("deadline_seconds: must be above 0")
        if self.keepalive_seconds < 10:  # noqa: PLR2004 (what the gateway permits)
            raise ValueError("keepalive_seconds: must be 10 at least, or the gateway closes the connection")
        if self.max_attempts < 1:
            raise ValueError("max_attempts: must be 1 at least")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read what is set as ``D1_GATEWAY_CLIENT_<NAME>``, for example ``D1_GATEWAY_CLIENT_CA_FILE``.

        Raises:
            ValueError: Something cannot be used; the text names it.
        """

        def path(name: str) -> Path | None:
            return Path(text) if (text := environment.get(_PREFIX + name)) else None

        def number(name: str, default: float) -> float:
            try:
                return float(environment.get(_PREFIX + name) or default)
            except ValueError:
                raise ValueError(f"{_PREFIX}{name}: must be a number") from None

        return cls(
            address=environment.get(_PREFIX + "ADDRESS", ""),
            ca_file=path("CA_FILE"),
            certificate_file=path("CERTIFICATE_FILE"),
            key_file=path("KEY_FILE"),
            token=environment.get(_PREFIX + "TOKEN"),
            token_file=path("TOKEN_FILE"),
            server_name=environment.get(_PREFIX + "SERVER_NAME"),
            deadline_seconds=number("DEADLINE_SECONDS", 10.0),
            keepalive_seconds=number("KEEPALIVE_SECONDS", 20.0),
            max_attempts=int(number("MAX_ATTEMPTS", 5)),
        )

    def bearer_token(self) -> str | None:
        """Get the bearer token of the moment; None if callers are known by certificate alone. May block."""
        if self.token_file is not None:
            return self.token_file.read_text().strip()
        return self.token() if callable(self.token) else self.token
