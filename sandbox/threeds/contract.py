"""The words and numbers of the 3-D Secure server's API; assumptions are marked."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "AUTHENTICATED",
    "CHALLENGE_SECONDS",
    "CREQ_SECONDS",
    "DECOUPLED_RESULT_SECONDS",
    "DELAYS",
    "DESCRIPTIONS",
    "DONE_SECONDS",
    "LOOKUP_SECONDS",
    "RESULT_SECONDS",
    "SESSION_DATA_MAX",
    "STATUS_MALFORMED",
    "UNKNOWN_BIN",
    "VERSIONS",
    "Delays",
    "Operation",
    "Path",
]

VERSIONS = ("2.1.0", "2.2.0", "2.3.1")

UNKNOWN_BIN = "9000100111111111"
"""The card number that is not enrolled."""

AUTHENTICATED = frozenset({"Y", "A"})
"""Each ``transStatus`` that comes with an authentication value."""

LOOKUP_SECONDS = 80.0
"""How long a transaction of /preauth waits for its AReq."""
CREQ_SECONDS = 30.0
"""How long after the ARes the ACS waits for the CReq."""
CHALLENGE_SECONDS = 600.0
"""How long the ACS waits for the cardholder."""
RESULT_SECONDS = 300.0
"""How long /postauth returns an RReq."""
DECOUPLED_RESULT_SECONDS = 1200.0
"""How long /postauth returns an RReq after a decoupled authentication."""

SESSION_DATA_MAX = 1024
"""The maximum length of ``threeDSSessionData``."""


class Operation(StrEnum):
    """The calls that the simulator serves; faults use these names."""

    PREAUTH = "preauth"
    AUTH = "auth"
    POSTAUTH = "postauth"
    THREE_DS_METHOD = "threeDSMethod"
    CHALLENGE = "challenge"
    DECISION = "decision"


class Path(StrEnum):
    """The paths. The last three are for browsers, and the simulator's own choice."""

    PREAUTH = "/preauth"
    AUTH = "/auth"
    POSTAUTH = "/postauth"
    THREE_DS_METHOD = "/acs/3ds-method"
    CHALLENGE = "/acs/challenge"
    DECISION = "/acs/decision"


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays of the simulator, shorter than in reality."""

    connection_timeout_seconds: float = 0.2
    """How long /auth is held if the directory server does not respond; 10 s in reality. By the event loop's clock."""
    decoupled_seconds: float = 2.0
    """How long a decoupled authentication takes. By the simulator's clock."""


DELAYS = Delays()

DESCRIPTIONS: Mapping[str, str] = {
    "101": "Message received invalid",
    "102": "Message version number not supported",
    "201": "Required data element missing",
    "202": "Critical message extension not recognised",
    "203": "Format of one or more data elements is invalid according to the specification",
    "204": "Duplicate data element",
    "301": "Transaction ID not recognised",
    "304": "ISO code invalid",
    "305": "Transaction data not valid",
    "402": "Transaction timed out",
    "405": "System connection failure",
}
"""The ``errorDescription`` of every ``errorCode`` that the simulator uses."""

# Assumed.
STATUS_MALFORMED = 400
"""The HTTP status of the Erro for a body that is not a JSON object. Every other Erro has status 200."""
DONE_SECONDS = 300.0
"""How long a transaction with a final ARes is kept, so that /postauth can report that no RReq came."""
