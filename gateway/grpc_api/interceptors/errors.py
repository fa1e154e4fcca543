"""The outermost interceptors: correlation id and version for every rpc, a `google.rpc.Status` for every failure."""

from typing import Any, Final, NoReturn

import grpc

from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Context, Interceptor, Rpc
from gateway.logging import correlation
from gateway.version import HEADER, VERSION
from issuer.common.v1 import error_pb2

__all__ = ["CorrelationInterceptor", "ErrorInterceptor"]

_VERSION: Final = (HEADER, VERSION)


class CorrelationInterceptor(Interceptor):
    """Takes the caller's correlation id, or makes one, and returns it in the trailing metadata, beside the version.

    An id that upstreams would reject is replaced: a caller's tracing must not fail its payments.
    """

    async def serve(self, rpc: Rpc) -> Any:
        """Set the id for the task that serves the rpc, then proceed."""
        given = next((value for key, value in rpc.metadata if key == correlation.HEADER), None)
        correlation_id = given if isinstance(given, str) and correlation.is_valid(given) else correlation.new()
        correlation.use(correlation_id)
        rpc.context.set_trailing_metadata((_VERSION, (correlation.HEADER, correlation_id)))
        return await rpc.proceed()


_DETAILS = "grpc-status-details-bin"


class ErrorInterceptor(Interceptor):
    """Ends a failed rpc with its status.

    Any exception but a `GatewayError` is a gateway fault: the caller only learns the correlation id.
    """

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, and turn an exception into a status."""
        try:
            return await rpc.proceed()
        except GatewayError as error:
            await _abort(rpc.context, error)
        except grpc.aio.AbortError:
            raise
        except Exception:  # noqa: BLE001 (the last resort: the caller gets a status)
            unexpected = GatewayError(
                error_pb2.ERROR_REASON_INTERNAL,
                "Internal gateway error; report the correlation id to the gateway's operators.",
                outcome=error_pb2.ERROR_OUTCOME_UNKNOWN,
            )
            await _abort(rpc.context, unexpected)


async def _abort(context: Context, error: GatewayError) -> NoReturn:
    correlation_id = correlation.current()
    status = error.to_status(correlation_id)
    metadata = (_VERSION, (correlation.HEADER, correlation_id), (_DETAILS, status.SerializeToString()))
    await context.abort(error.code, error.message, metadata)
