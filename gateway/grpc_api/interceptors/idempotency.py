"""Makes a call that is repeated under one request id only once."""

from typing import Any

import structlog

from gateway.auth import grant as access
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.idempotency.replies import IdempotencyStore
from gateway.idempotency.requests import content, mutating_rpc

__all__ = ["REPLAY_HEADER", "IdempotencyInterceptor"]

REPLAY_HEADER = "x-idempotent-replay"
"""In the trailing metadata, ``true``: an earlier call got this reply first, and nothing was sent now."""

_log = structlog.get_logger(__name__)


class IdempotencyInterceptor(Interceptor):
    """Stands right around the service, within the `DetachedCallInterceptor`.

    So what is refused before leaves the request id free, and a change is recorded even if its caller goes away.
    """

    def __init__(self, replies: IdempotencyStore) -> None:
        """Prepare.

        Args:
            replies: Those that were given already.
        """
        self._replies = replies

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, or answer what was answered before.

        Raises:
            GatewayError: As `IdempotencyStore.reply` does.
        """
        request, mutating = rpc.request, mutating_rpc(rpc.method.path)
        request_id: str = getattr(request, "request_id", "")
        if mutating is None or not request_id:
            return await rpc.proceed()
        grant = access.current()
        caller = "" if grant is None else grant.caller.identity
        # A UUID is the same in either case.
        scope = caller, getattr(request, "issuer_id", ""), request_id.lower()
        reply = await self._replies.reply(mutating, scope, content(request), rpc.proceed)
        if reply.is_replay:
            _log.info("reply_replayed", rpc=rpc.method.path)
            context = rpc.context
            context.set_trailing_metadata((*(context.trailing_metadata() or ()), (REPLAY_HEADER, "true")))
        return reply.message
