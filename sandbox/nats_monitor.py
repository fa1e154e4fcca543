"""A client of a NATS server's HTTP monitoring port."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["Copies", "Monitor"]


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of a stream, as one server reports them."""

    leader: str
    """The leader."""
    in_step: frozenset[str]
    """The followers that have all that the leader has."""
    behind: frozenset[str]
    """The followers that lag or are down."""


class Monitor:
    """Queries one server."""

    def __init__(self, port: int) -> None:
        """Use a port on loopback.

        Args:
            port: The server's monitoring port.
        """
        self._port = port

    async def is_healthy(self) -> bool:
        """Return whether the server serves; in a cluster also whether it is current and JetStream has a leader."""
        status, _ = await self._get("/healthz")
        return status == b"200"

    async def copies(self, stream: str) -> Copies | None:
        """Return the state of a stream's copies; None if the server is down or knows no leader."""
        _, body = await self._get("/jsz?streams=true")
        for known in _streams(orjson.loads(body or b"{}")):
            cluster = known.get("cluster", {})
            if known["name"] == stream and cluster.get("leader"):
                others = cluster.get("replicas", ())
                in_step = frozenset(each["name"] for each in others if _is_in_step(each))
                return Copies(cluster["leader"], in_step, frozenset(each["name"] for each in others) - in_step)
        return None

    async def _get(self, path: str) -> tuple[bytes, bytes]:
        """Return status and body, or empty bytes if the server is down."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return b"", b""
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        except OSError:
            return b"", b""
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return (head.split() or [b"", b""])[1], body


def _streams(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for account in report.get("account_details", ()):
        yield from account.get("stream_detail", ())


def _is_in_step(copy: Mapping[str, Any]) -> bool:
    return bool(copy.get("current")) and not copy.get("offline") and not copy.get("lag")
