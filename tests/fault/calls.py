"""Calls of the gateway, each with its own correlation id, by which the wires identify it."""

from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from issuer.card.v1 import messages_pb2 as card
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from tests.contract.areqs import REQUESTOR, an_areq, pan_of
from tests.contract.card_rpcs import credentials
from tests.running import Running

__all__ = ["CHANGES", "QUERIES", "Made", "authenticate", "create", "list_operations", "lookup", "register", "suspend"]

SECONDS = 10.0


async def _made(rpc: Any, request: Message, correlation_id: str, seconds: float) -> Any:
    return await rpc(request, timeout=seconds, metadata=(("x-correlation-id", correlation_id or uuid4().hex),))


async def suspend(running: Running, correlation_id: str = "", *, seconds: float = SECONDS) -> Any:
    """Make a change that is not idempotent."""
    request = card.SuspendCardRequest(card_id="card-active", reason_code="USER_DECISION")
    return await _made(running.cards.SuspendCard, request, correlation_id, seconds)


async def register(running: Running, correlation_id: str = "", *, seconds: float = SECONDS) -> Any:
    """Make an idempotent change."""
    number = uuid4().int % 10**12
    request = card.RegisterCardRequest(
        card_id=f"card-{number}",
        consumer_id="consumer-2",
        card_product_id="light",
        credentials=credentials(f"4970{number:012d}"),
    )
    return await _made(running.cards.RegisterCard, request, correlation_id, seconds)


async def create(running: Running, correlation_id: str = "", *, seconds: float = SECONDS) -> Any:
    """Create a card; a repetition would create a second one."""
    request = card.CreateCardRequest(
        consumer_id="consumer-1",
        card_product_id="full",
        accounts=[card.CardAccount(is_default=True, type="CURRENT", number="12345678", currency_code="EUR")],
    )
    return await _made(running.cards.CreateCard, request, correlation_id, seconds)


async def list_operations(running: Running, correlation_id: str = "", *, seconds: float = SECONDS) -> Any:
    """Call D1."""
    request = history_pb2.ListThreeDSOperationsRequest(card_id="card-active")
    return await _made(running.operations.ListThreeDSOperations, request, correlation_id, seconds)


async def lookup(running: Running, correlation_id: str = "", *, seconds: float = SECONDS) -> Any:
    """Call the 3-D Secure server."""
    request = threeds.LookupCardRequest(acct_number=pan_of("0003"))
    return await _made(running.authentication.LookupCard, request, correlation_id, seconds)


async def authenticate(running: Running, correlation_id: str = "", *, seconds: float = SECONDS) -> Any:
    """Send an AReq; a correlation id that is a UUID is also its transaction id."""
    areq = an_areq("2.2.0", pan_of("0003"), REQUESTOR, three_ds_server_trans_id=correlation_id or str(uuid4()))
    request = threeds.AuthenticateRequest(areq=areq)
    return await _made(running.authentication.Authenticate, request, correlation_id, seconds)


Made = Callable[..., Coroutine[Any, Any, Any]]
CHANGES: Mapping[str, Made] = MappingProxyType({"d1": suspend, "threeds": authenticate})
"""By upstream: calls that are sent at most once."""
QUERIES: Mapping[str, Made] = MappingProxyType({"d1": list_operations, "threeds": lookup})
"""By upstream: calls that are retried."""
