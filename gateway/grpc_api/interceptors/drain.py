"""Drains connections without cutting calls off."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.grpc_api.interceptors.chain import Interceptor, Rpc

__all__ = ["DrainInterceptor"]


class DrainInterceptor(Interceptor):
    """Holds back the ends of rpcs until their connections got a GOAWAY; must be inside the `ErrorInterceptor`.

    A grpc server that shuts down sends a GOAWAY on each connection. A call that arrives before the caller sees it ends
    with CANCELLED, unseen here. But a caller that waits for a reply sends nothing: if the reply follows the GOAWAY, its
    next call goes to another instance.
    """

    def __init__(self) -> None:
        self._may_end = asyncio.Event()
        self._may_end.set()

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, and delay the end if ends are held back."""
        try:
            reply = await rpc.proceed()
        except Exception:
            await self._may_end.wait()
            raise
        if not self._may_end.is_set():
            await self._may_end.wait()
        return reply

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold every end back while the context lasts."""
        self._may_end.clear()
        try:
            yield
        finally:
            self._may_end.set()
