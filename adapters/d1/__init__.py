"""Thales D1: the client of its REST API, behind the gateway's ports."""

from adapters.d1.authenticators import D1Authenticators
from adapters.d1.cards import D1CardIssuer
from adapters.d1.client import D1Client, connect
from adapters.d1.consumers import D1Consumers
from adapters.d1.jwe import D1CardDataEncryption
from adapters.d1.keys import EncryptionKey, IssuerKeys
from adapters.d1.operations import D1OperationHistory
from adapters.d1.settings import D1Settings

__all__ = [
    "D1Authenticators",
    "D1CardDataEncryption",
    "D1CardIssuer",
    "D1Client",
    "D1Consumers",
    "D1OperationHistory",
    "D1Settings",
    "EncryptionKey",
    "IssuerKeys",
    "connect",
]
