"""The twelve rpcs that call D1, those that call the 3-D Secure server, and calls that must reach neither."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from google.protobuf.message import Message

from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import Operation
from sandbox.d1.model.notification import Notification
from sandbox.threeds.contract import Operation as ThreeDSOperation
from tests.contract import card_rpcs, consumer_rpcs
from tests.contract.areqs import REQUESTOR, an_areq, pan_of
from tests.contract.card_rpcs import Rpc, rpcs
from tests.running import Failure, Running, failure_of

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)

OPERATION_RPCS = rpcs(
    "operations",
    {
        Operation.LIST_THREE_DS_OPERATIONS: history_pb2.ListThreeDSOperationsRequest(card_id="card-active"),
        Operation.GET_THREE_DS_OPERATION: history_pb2.GetThreeDSOperationRequest(
            card_id="card-active", operation_id="op-1"
        ),
    },
)
"""The rpcs of ThreeDSOperationService, which change nothing."""

THREEDS_RPCS = rpcs(
    "authentication",
    {
        ThreeDSOperation.PREAUTH: threeds.LookupCardRequest(acct_number=pan_of("0003")),
        # This channel needs no lookup.
        ThreeDSOperation.AUTH: threeds.AuthenticateRequest(areq=an_areq("2.2.0", pan_of("0003"), REQUESTOR)),
        # There is no such transaction.
        ThreeDSOperation.POSTAUTH: threeds.GetChallengeResultRequest(three_ds_server_trans_id=str(uuid4())),
    },
)
"""The rpcs of AuthenticationService, each with a request that the simulator replies to."""

LOOKUPS = tuple(rpc for rpc in THREEDS_RPCS.values() if rpc.is_idempotent)
"""The rpcs of the 3-D Secure server that are retried."""

D1_RPCS: Mapping[str, Rpc] = {**card_rpcs.RPCS, **consumer_rpcs.RPCS, **OPERATION_RPCS}
"""The rpcs that call D1. Each succeeds after `make_ready`."""

UPSTREAM_RPCS: Mapping[str, Rpc] = {**D1_RPCS, **THREEDS_RPCS}
"""The rpcs that call any upstream."""


def happened(sandbox: Sandbox, *numbers: int, card_id: str = "card-active") -> None:
    """Add the operations ``op-<number>`` to the history, each in the second of its number."""
    for number in numbers:
        time = BEGIN + timedelta(seconds=number)
        sandbox.history.add(Notification(card_id, f"op-{number}", time, details={"acsTransactionId": f"acs-{number}"}))


def make_ready(sandbox: Sandbox) -> None:
    """Add an authenticator and an operation to a prepared D1."""
    consumer_rpcs.enrol(sandbox)
    happened(sandbox, 1)


async def refused_unsent(running: Running, rpc: Rpc, request: Message) -> Failure:
    """Make a call that must send nothing."""
    before = consumer_rpcs.known(running.sandbox)
    running.sandbox.faults.add(Fault(status=500))
    failure = await failure_of(rpc.call(running, request))
    assert running.sandbox.faults.take(None) is not None, "the upstream was called"
    assert consumer_rpcs.known(running.sandbox) == before
    assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", None)
    return failure
