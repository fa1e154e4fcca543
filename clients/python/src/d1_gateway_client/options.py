"""The gateway's address, the caller's credentials, and time limits of calls."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Options"]

_PREFIX = "D1_GATEWAY_CLIENT_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Connection options. The connection is always TLS.

    Raises:
        ValueError: The options contradict each other, or a number is out of range.
    """

    address: str
    """``host:port`` of the gateway's gRPC listener, or another gRPC target (``dns:///gateway:8443``)."""
    ca_file: Path | None = None
    """CA bundle (PEM). None: the authorities that gRPC ships."""
    certificate_file: Path | None = None
    """Client certificate with its intermediates (PEM). None: no client certificate."""
    key_file: Path | None = None
    """Private key of the client certificate (PEM). The file belongs to this process's user with mode 0600 or less, or
    to root with mode 0640 or less."""
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    """Bearer token (JWT), or a function that returns one before every call; an async client runs it in a thread."""
    token_file: Path | None = None
    """File with the bearer token. It is read before every call, so it can be renewed."""
    server_name: str | None = None
    """Name in the gateway's certificate, if it differs from the address's host. None: the address's host."""
    deadline_seconds: float = 10.0
    """Default deadline of a call, retries included, in seconds."""
    keepalive_seconds: float = 20.0
    """Seconds of silence before a keepalive ping. The gateway requires at least 10."""
    max_attempts: int = 5
    """Maximum attempts of a call, the first one included. 1: no retries."""

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError("address: must be set")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file, key_file: set both or neither")
        if self.token is not None and self.token_file is not None:
            raise ValueError("token, token_file: set at most one")
        if self.deadline_seconds <= 0:
            raise ValueError("deadline_seconds: must be above 0")
        if self.keepalive_seconds < 10:  # noqa: PLR2004 (the gateway's minimum)
            raise ValueError("keepalive_seconds: must be at least 10, or the gateway closes the connection")
        if self.max_attempts < 1:
            raise ValueError("max_attempts: must be at least 1")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read options from ``D1_GATEWAY_CLIENT_<NAME>``, for example ``D1_GATEWAY_CLIENT_CA_FILE``.

        Raises:
            ValueError: An option is invalid; the text names it.
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
        """Return the current bearer token; None if the client certificate alone identifies the caller. May block."""
        if self.token_file is not None:
            return self.token_file.read_text().strip()
        return self.token() if callable(self.token) else self.token
