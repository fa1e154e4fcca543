"""Turns what an rpc raises into a `google.rpc.Status`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import structlog
from google.protobuf.message import Message

from gateway import correlation
from gateway.errors import GatewayError
from gateway.rpc.interceptors.around import AroundInterceptor, Context, RequestStream
from issuer.common.v1 import error_pb2

__all__ = ["ErrorInterceptor"]

_log = structlog.get_logger(__name__)
_LOGGED = frozenset(
    {
        "acs_trans_id",
        "ds_trans_id",
        "earliest_cursor",
        "error_component",
        "three_ds_server_trans_id",
        "upstream",
        "upstream_code",
        "upstream_status",
    }
)
_DETAILS = "grpc-status-details-bin"


class ErrorInterceptor(AroundInterceptor):
    """Ends a failed rpc with its status, and logs it.

    An exception that is no `GatewayError` is a fault of ours: the caller learns the correlation id and nothing else.
    """

    @asynccontextmanager
    async def around(
        self, method: str, request: Message | RequestStream | None, context: Context
    ) -> AsyncIterator[None]:
        """Catch, log, abort."""
        del request
        try:
            yield
        except GatewayError as error:
            _log.warning(
                "rpc failed", rpc=method, reason=error.reason_name, outcome=error.outcome_name, **_facts(error)
            )
            await _abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception:  # noqa: BLE001 (the last resort: the caller gets a status, the log the traceback)
            _log.exception("rpc broke", rpc=method)
            unexpected = GatewayError(
                error_pb2.ERROR_REASON_INTERNAL,
                "A fault in the gateway: report the correlation id to its operators.",
                outcome=error_pb2.OUTCOME_UNKNOWN,
            )
            await _abort(context, unexpected)


def _facts(error: GatewayError) -> dict[str, str]:
    facts = {name: value for name, value in error.metadata.items() if name in _LOGGED}
    # An upstream's own words, however sanitised, may name a person: they go to the caller, not into the log.
    return facts if "upstream_status" in facts else {**facts, "message": error.message}


async def _abort(context: Context, error: GatewayError) -> None:
    correlation_id = correlation.current()
    status = error.to_status(correlation_id)
    metadata = ((correlation.HEADER, correlation_id), (_DETAILS, status.SerializeToString()))
    await context.abort(error.code, error.message, metadata)
