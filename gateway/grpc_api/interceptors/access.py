"""Access control: identifies the caller and denies by default what the policy does not grant."""

from collections.abc import Sequence
from typing import Any, Final

import grpc
import structlog

from gateway.auth import grant as access
from gateway.auth.caller import Callers
from gateway.auth.errors import Unidentified
from gateway.auth.issuers import Issuers, authorized_issuer
from gateway.auth.policy_file import PolicyFile
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc, ended_by_grpc
from issuer.common.v1 import error_pb2

__all__ = ["MAX_METADATA_BYTES", "AccessInterceptor", "IssuerInterceptor"]

MAX_METADATA_BYTES: Final = 16_384
"""The limit on the metadata of a call. A bearer token may have 8 KiB."""
_ENTRY_BYTES: Final = 32
"""What HTTP/2 adds to each entry (RFC 9113, section 6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE)."""

_OPEN = "/grpc.health.v1.Health/"
"""Open to all, for load balancers and orchestrators. It only reveals whether to send calls here."""

_log = structlog.get_logger(__name__)


class AccessInterceptor(Interceptor):
    """Identifies the caller, applies the policy, and sets the grant for `gateway.auth.grant`.

    The caller learns who it is and what it lacks, and nothing of other callers.
    """

    def __init__(self, callers: Callers, policy: PolicyFile) -> None:
        self._callers = callers
        self._policy = policy

    async def serve(self, rpc: Rpc) -> Any:
        """Check access, then proceed.

        Raises:
            GatewayError: UNAUTHENTICATED or PERMISSION_DENIED.
            grpc.aio.AbortError: The metadata is too large. grpc refuses it by itself, with the same status, only from
                callers that have acknowledged its settings.
        """
        if _size(rpc.metadata) > MAX_METADATA_BYTES:
            await ended_by_grpc()
            await rpc.context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"The metadata has more than {MAX_METADATA_BYTES} bytes"
            )
        if not rpc.method.path.startswith(_OPEN):
            access.use(await self._grant(rpc))
        return await rpc.proceed()

    async def identity(self, rpc: Rpc) -> str | None:
        """Return the identity of a caller, whatever it may do; None if it has none."""
        try:
            return (await self._callers.identify(rpc.context.auth_context(), rpc.metadata)).identity
        except Unidentified:
            return None

    async def _grant(self, rpc: Rpc) -> access.Grant:
        path = rpc.method.path
        try:
            caller = await self._callers.identify(rpc.context.auth_context(), rpc.metadata)
        except Unidentified as error:
            _log.warning("access_denied", rpc=path, why=str(error))
            raise GatewayError(
                error_pb2.ERROR_REASON_UNAUTHENTICATED, error.advice, outcome=error_pb2.ERROR_OUTCOME_NOT_SENT
            ) from error
        grant = self._policy.grant(caller, path)
        if grant is None:
            _log.warning("access_denied", rpc=path, caller=caller.identity, why="rpc not granted")
            named = self._policy.names(caller)
            raise GatewayError(
                error_pb2.ERROR_REASON_PERMISSION_DENIED,
                f"The policy does not {f'grant {rpc.method.name} to' if named else 'name'} {caller.identity}; ask the "
                "gateway's operators for a grant.",
                outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            )
        return grant


class IssuerInterceptor(Interceptor):
    """Checks that the caller may act for the request's issuer, and fills in the issuer if there is only one.

    After it, ``issuer_id`` names a configured issuer. The servicer checks the requests of a stream itself.
    """

    def __init__(self, issuers: Issuers) -> None:
        self._issuers = issuers

    async def serve(self, rpc: Rpc) -> Any:
        """Check the issuer, then proceed.

        Raises:
            GatewayError: PERMISSION_DENIED, ISSUER_UNKNOWN or ISSUER_REQUIRED.
        """
        request: Any = rpc.request
        if hasattr(request, "issuer_id"):
            request.issuer_id = authorized_issuer(self._issuers, request.issuer_id)
        return await rpc.proceed()


def _size(metadata: Sequence[tuple[str, str | bytes]]) -> int:
    return sum([len(key) + len(value) + _ENTRY_BYTES for key, value in metadata])
