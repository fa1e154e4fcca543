"""Lets nobody in who is not known, and nobody do what the policy does not grant."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message

from gateway.errors import GatewayError
from gateway.identity import access
from gateway.identity.caller import Callers
from gateway.identity.policy_file import PolicyFile
from gateway.identity.refusal import Unidentified
from gateway.rpc.interceptors.around import Context, Handler, Proceed, RequestStream, ServingInterceptor
from issuer.common.v1 import error_pb2

__all__ = ["AccessInterceptor"]

_OPEN = "/grpc.health.v1.Health/"
"""Load balancers and orchestrators ask it, and it tells nothing else than whether to send calls here."""

_log = structlog.get_logger(__name__)


class AccessInterceptor(ServingInterceptor):
    """Finds out who calls, asks the policy, and notes the grant for `gateway.identity.access`.

    The caller learns only that it is not known, or that it may not; the log says why.
    """

    def __init__(self, callers: Callers, policy: PolicyFile) -> None:
        """Prepare.

        Args:
            callers: Finds out who calls.
            policy: Says what callers may do.
        """
        super().__init__()
        self._callers = callers
        self._policy = policy

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wrap every handler, one that answers with a generator (reflection) too.

        Raises:
            TypeError: It is of a kind that cannot be wrapped: nothing is served past the policy.
        """

        async def wrappable(details: grpc.HandlerCallDetails) -> "Handler | None":
            handler = await continuation(details)
            return None if handler is None else _wrappable(handler)

        return await super().intercept_service(wrappable, handler_call_details)

    async def serve(
        self, method: str, request: Message | RequestStream | None, context: Context, proceed: Proceed
    ) -> Any:
        """Decide, then proceed.

        Raises:
            GatewayError: UNAUTHENTICATED or PERMISSION_DENIED.
        """
        del request
        if not method.startswith(_OPEN):
            access.use(await self._grant(method, context))
        return await proceed()

    async def _grant(self, method: str, context: Context) -> access.Grant:
        try:
            caller = await self._callers.identify(context.auth_context(), context.invocation_metadata() or ())
        except Unidentified as refusal:
            _log.warning("access refused", rpc=method, why=str(refusal))
            raise GatewayError(
                error_pb2.ERROR_REASON_UNAUTHENTICATED,
                "Show a client certificate or a bearer token that this gateway accepts.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
            ) from refusal
        grant = self._policy.grant(caller, method)
        if grant is None:
            _log.warning("access refused", rpc=method, caller=caller.identity, why="rpc not granted")
            raise GatewayError(
                error_pb2.ERROR_REASON_PERMISSION_DENIED,
                "The policy does not grant this caller this rpc.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
            )
        return grant


def _wrappable(handler: Handler) -> Handler:
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if handler.request_deserializer is not None and inspect.iscoroutinefunction(behaviour):
        return handler
    if handler.request_deserializer is None or not inspect.isasyncgenfunction(behaviour):
        raise TypeError("an rpc must be served by a coroutine or an asynchronous generator, with parsed requests")

    async def written(request: Any, context: Context) -> None:
        async with aclosing(behaviour(request, context)) as answers:
            async for answer in answers:
                await context.write(answer)

    make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
    return make(
        written, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
    )
