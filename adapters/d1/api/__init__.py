"""The client of D1's REST API, behind the gateway's ports."""

from adapters.d1.api.cards import D1CardIssuer
from adapters.d1.api.client import D1Client, Identity, connect
from adapters.d1.api.consumers import D1Authenticators, D1Consumers
from adapters.d1.api.jwe import D1CardDataEncryption
from adapters.d1.api.keys import EncryptionKey, IssuerKeys, check_assertion_keys
from adapters.d1.api.operations import D1OperationHistory

__all__ = [
    "D1Authenticators",
    "D1CardDataEncryption",
    "D1CardIssuer",
    "D1Client",
    "D1Consumers",
    "D1OperationHistory",
    "EncryptionKey",
    "Identity",
    "IssuerKeys",
    "check_assertion_keys",
    "connect",
]
