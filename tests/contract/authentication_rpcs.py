"""The three rpcs of AuthenticationService, each with a request that succeeds at the simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.threeds.contract import Operation
from tests.contract.areqs import REQUESTOR, an_areq, pan_of
from tests.contract.authenticating import SECONDS
from tests.running import Running

__all__ = ["QUESTIONS", "THREEDS_RPCS", "ThreeDSRpc"]


@dataclass(frozen=True, slots=True)
class ThreeDSRpc:
    """An rpc of AuthenticationService."""

    name: str
    operation: Operation
    """The call that it makes at the 3DS server."""
    request: Message

    async def call(
        self,
        running: Running,
        request: Message | None = None,
        *,
        timeout: float | None = SECONDS,  # noqa: ASYNC109 (it is the deadline that the caller sends)
    ) -> Any:
        """Call it with its own request or another one."""
        return await getattr(running.authentication, self.name)(request or self.request, timeout=timeout)


THREEDS_RPCS: Mapping[str, ThreeDSRpc] = MappingProxyType(
    {
        rpc.name: rpc
        for rpc in (
            ThreeDSRpc("LookupCard", Operation.PREAUTH, threeds.LookupCardRequest(acct_number=pan_of("0003"))),
            ThreeDSRpc(
                # This channel needs no lookup.
                "Authenticate",
                Operation.AUTH,
                threeds.AuthenticateRequest(areq=an_areq("2.2.0", pan_of("0003"), REQUESTOR)),
            ),
            ThreeDSRpc(
                "GetChallengeResult",
                Operation.POSTAUTH,
                threeds.GetChallengeResultRequest(three_ds_server_trans_id=str(uuid4())),
            ),
        )
    }
)
"""The rpcs by name. The transaction of the last one does not exist."""

QUESTIONS = (THREEDS_RPCS["LookupCard"], THREEDS_RPCS["GetChallengeResult"])
"""The rpcs without effects, which are retried."""
