"""Runs a call once, however often it is repeated under one request id."""

from typing import Any

import structlog

from gateway.auth import grant as access
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.idempotency.replies import IdempotencyStore
from gateway.idempotency.requests import content, mutating_rpc

__all__ = ["REPLAY_HEADER", "IdempotencyInterceptor"]

REPLAY_HEADER = "x-idempotent-replay"
"""Set to ``true`` in the trailing metadata of a replayed reply: nothing was sent upstream."""

_log = structlog.get_logger(__name__)


class IdempotencyInterceptor(Interceptor):
    """The innermost interceptor, inside the `DetachedCallInterceptor`.

    So a call that is rejected earlier leaves the request id free, and a change is recorded even if its caller leaves.
    """

    def __init__(self, replies: IdempotencyStore) -> None:
        self._replies = replies

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, or replay the first reply.

        Raises:
            GatewayError: As `IdempotencyStore.reply` does.
        """
        request, mutating = rpc.request, mutating_rpc(rpc.method.path)
        request_id: str = getattr(request, "request_id", "")
        if mutating is None or not request_id:
            return await rpc.proceed()
        grant = access.current()
        caller = "" if grant is None else grant.caller.identity
        # UUIDs are case-insensitive.
        scope = caller, getattr(request, "issuer_id", ""), request_id.lower()
        reply = await self._replies.reply(mutating, scope, content(request), rpc.proceed)
        if reply.is_replay:
            _log.info("reply_replayed", rpc=rpc.method.path)
            context = rpc.context
            context.set_trailing_metadata((*(context.trailing_metadata() or ()), (REPLAY_HEADER, "true")))
        return reply.message
