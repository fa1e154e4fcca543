"""Connections that the edge turns away: counted, and logged so that strangers cannot flood the log."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from gateway.logging.throttled import ThrottledLog

__all__ = ["Refusal", "Refusals"]


class Refusal(StrEnum):
    """Why a connection was turned away."""

    FULL = "full"
    """There are `edge.max_connections`."""
    SHARE = "share"
    """Its address has `edge.max_connections_per_address`."""
    DISPLACED = "displaced"
    """A newer one took its place among `edge.max_handshakes`."""
    SILENT = "silent"
    """There was no ClientHello in time."""
    SLOW = "slow"
    """The handshake took longer than `edge.handshake_timeout_seconds`."""
    FAILED = "failed"
    """The handshake failed."""
    UNVERIFIED = "unverified"
    """No client was known by the end of `edge.handshake_timeout_seconds`."""
    HEAD = "head"
    """The head of a request took longer than `edge.request_timeout_seconds`."""


_LIMITS: Final = {
    Refusal.FULL: "edge.max_connections",
    Refusal.SHARE: "edge.max_connections_per_address",
    Refusal.DISPLACED: "edge.max_handshakes",
}


class Refusals:
    """Reports connections that are turned away."""

    def __init__(self, count: Callable[[Refusal], None]) -> None:
        """Start; `count` is called with the reason of each."""
        self._count = count
        # One for each reason, so that a frequent one does not hide a rare one.
        self._limited = {reason: ThrottledLog("edge_connection_limit_reached") for reason in _LIMITS}
        self._unfinished = {
            reason: ThrottledLog("tls_handshake_failed")
            for reason in (Refusal.SILENT, Refusal.SLOW, Refusal.FAILED, Refusal.UNVERIFIED)
        }
        self._slow_head = ThrottledLog("request_head_timed_out")

    def report(self, reason: Refusal, peer: str | None, error: str | None = None) -> None:
        """Count a connection that is turned away, and maybe log it.

        Args:
            reason: Why.
            peer: Its address, if known.
            error: A constant text of TLS, instead of the reason.
        """
        self._count(reason)
        if reason in _LIMITS:
            self._limited[reason].warning(peer=peer, limit=_LIMITS[reason])
        elif reason is Refusal.HEAD:
            self._slow_head.warning(peer=peer)
        else:
            self._unfinished[reason].warning(peer=peer, error=error or reason.value)
