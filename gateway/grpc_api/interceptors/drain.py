"""Lets callers go without cutting any of them off."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.grpc_api.interceptors.chain import Interceptor, Rpc

__all__ = ["DrainInterceptor"]


class DrainInterceptor(Interceptor):
    """Holds ends of rpcs back until their callers have been told to go elsewhere; stands right within what sends them.

    A server of grpc's tells each connection with a GOAWAY that it shuts down. What comes in between that moment and the
    one when the caller hears of it ends with CANCELLED, and nobody has seen it here. But who waits for an answer sends
    nothing: with the answer behind the GOAWAY, the next call goes to somebody else.
    """

    def __init__(self) -> None:
        self._may_end = asyncio.Event()
        self._may_end.set()

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, and wait with the end if it is held back."""
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
        """Hold every end back for as long as the context lasts."""
        self._may_end.clear()
        try:
            yield
        finally:
            self._may_end.set()
