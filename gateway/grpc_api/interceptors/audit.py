"""The audit trail of rpcs: who asked for which change, what became of it, and who was refused."""

from typing import Any, Final

from gateway.audit import recorder as recording
from gateway.audit.recorder import Recorder
from gateway.audit.rpcs import recorded_rpc
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.access import AccessInterceptor
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.grpc_api.interceptors.context import caller_identity
from issuer.common.v1 import error_pb2

__all__ = ["AttemptInterceptor", "ChangeInterceptor", "RefusalInterceptor"]

_REFUSALS: Final = frozenset({error_pb2.ERROR_REASON_UNAUTHENTICATED, error_pb2.ERROR_REASON_PERMISSION_DENIED})


class RefusalInterceptor(Interceptor):
    """Records refused calls of all rpcs; must be outside the interceptors that refuse."""

    def __init__(self, recorder: Recorder, access: AccessInterceptor) -> None:
        """Take the recorder, and what identifies callers."""
        self._recorder = recorder
        self._access = access

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, and record a refusal."""
        try:
            return await rpc.proceed()
        except GatewayError as error:
            if error.reason in _REFUSALS:
                # Who is refused by the policy has no grant that would tell its name.
                is_known = error.reason == error_pb2.ERROR_REASON_PERMISSION_DENIED
                caller = (await self._access.identity(rpc) or "") if is_known else ""
                issuer_id = getattr(rpc.request, "issuer_id", "")
                await self._recorder.refuse(rpc.method.path, caller, rpc.context.peer(), issuer_id, error)
            raise


class ChangeInterceptor(Interceptor):
    """Records changes, whatever becomes of them.

    Must be inside the `DetachedCallInterceptor`, so that a change is recorded even if its caller leaves, and outside
    the `IdempotencyInterceptor`, so that replays are.
    """

    def __init__(self, recorder: Recorder) -> None:
        """Take the recorder."""
        self._recorder = recorder

    async def serve(self, rpc: Rpc) -> Any:
        """Record the attempt, proceed, and return once the result is on disk.

        Raises:
            GatewayError: AUDIT_UNAVAILABLE.
        """
        recorded, request = recorded_rpc(rpc.method.path), rpc.request
        if recorded is None or request is None:
            return await rpc.proceed()
        recorder = self._recorder
        attempt = recorder.begin(rpc.method.path, recorded, request, caller_identity(), rpc.context.peer())
        try:
            reply = await rpc.proceed()
        except Exception as error:
            await recorder.end(attempt, None, error).on_disk
            raise
        except BaseException as error:
            # Who is cancelled cannot wait.
            recorder.end(attempt, None, error)
            raise
        await recorder.end(attempt, reply, None).on_disk
        return reply


class AttemptInterceptor(Interceptor):
    """Lets a change through once its attempt is on disk, and submits its result; must be the innermost.

    So both are written while the idempotency store writes its marker and its record, and a call waits for the slower
    one. What the store itself answers has its result from the `ChangeInterceptor`.
    """

    def __init__(self, recorder: Recorder) -> None:
        """Take the recorder."""
        self._recorder = recorder

    async def serve(self, rpc: Rpc) -> Any:
        """Wait if the rpc is recorded, then proceed, and submit the result.

        Raises:
            GatewayError: AUDIT_UNAVAILABLE.
        """
        attempt = recording.current.get()
        if attempt is None:
            return await rpc.proceed()
        await self._recorder.allow(attempt)
        try:
            reply = await rpc.proceed()
        except BaseException as error:
            self._recorder.end(attempt, None, error)
            raise
        self._recorder.end(attempt, reply, None)
        return reply
