"""The three rpcs of AuthenticationService, each with a request that succeeds at the simulator."""

from collections.abc import Mapping
from types import MappingProxyType
from uuid import uuid4

from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.threeds.contract import Operation
from tests.contract.areqs import REQUESTOR, an_areq, pan_of
from tests.contract.card_rpcs import Rpc

__all__ = ["LOOKUPS", "THREEDS_RPCS"]


THREEDS_RPCS: Mapping[str, Rpc] = MappingProxyType(
    {
        rpc.name: rpc
        for rpc in (
            Rpc(
                "LookupCard",
                Operation.PREAUTH,
                threeds.LookupCardRequest(acct_number=pan_of("0003")),
                "authentication",
            ),
            Rpc(
                # This channel needs no lookup.
                "Authenticate",
                Operation.AUTH,
                threeds.AuthenticateRequest(areq=an_areq("2.2.0", pan_of("0003"), REQUESTOR)),
                "authentication",
            ),
            Rpc(
                "GetChallengeResult",
                Operation.POSTAUTH,
                threeds.GetChallengeResultRequest(three_ds_server_trans_id=str(uuid4())),
                "authentication",
            ),
        )
    }
)
"""The rpcs by name. The transaction of the last one does not exist."""

LOOKUPS = (THREEDS_RPCS["LookupCard"], THREEDS_RPCS["GetChallengeResult"])
"""The rpcs without effects, which are retried."""
