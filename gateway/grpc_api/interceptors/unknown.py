"""Rejects calls to rpcs that this gateway does not serve, and says what it serves instead."""

from collections.abc import Collection
from typing import Final, NoReturn

from google.protobuf import descriptor_pool

from gateway.errors import GatewayError, shown
from gateway.grpc_api.interceptors.access import AccessInterceptor
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.grpc_api.interceptors.telemetry import TelemetryInterceptor
from gateway.logging.throttled import ThrottledLog
from issuer.common.v1 import error_pb2

__all__ = ["UnknownRpcInterceptor"]

_PAUSE_SECONDS: Final = 1.0


class UnknownRpcInterceptor(Interceptor):
    """The innermost interceptor of every call to an unknown rpc."""

    def __init__(
        self,
        access: AccessInterceptor,
        telemetry: TelemetryInterceptor,
        *,
        served: Collection[str],
        known: Collection[str],
    ) -> None:
        """Prepare the log.

        Args:
            access: Identifies the caller, for the log.
            telemetry: Counts the calls.
            served: The full names of the services of this gateway.
            known: The full names of the services of the contracts, configured here or not.
        """
        self._access = access
        self._telemetry = telemetry
        self._served = served
        self._known = known
        self._unknown_log = ThrottledLog("rpc_unknown", pause_seconds=_PAUSE_SECONDS)

    async def serve(self, rpc: Rpc) -> NoReturn:
        """Count, log and reject the call.

        Health tells everybody which services there are, and the contracts which rpcs they have: the message may too.

        Raises:
            GatewayError: RPC_UNKNOWN.
        """
        self._telemetry.count_unknown()
        self._unknown_log.warning(rpc=shown(rpc.method.path), caller=await self._access.identity(rpc))
        raise GatewayError(
            error_pb2.ERROR_REASON_RPC_UNKNOWN, self._why(rpc.method.name), outcome=error_pb2.ERROR_OUTCOME_NOT_SENT
        )

    def _why(self, name: str) -> str:
        service, _, method = name.rpartition("/")
        if service in self._served:
            methods = descriptor_pool.Default().FindServiceByName(service).methods
            rpcs = ", ".join(each.name for each in methods)
            return f"{service} has no rpc {shown(method)}; it has {rpcs}."
        if service in self._known:
            return f"{service} is not configured at this gateway."
        return f"This gateway has no service {shown(service)}; it serves {', '.join(sorted(self._served))}."
