"""Compares what the gateway exchanges with D1 to an OpenAPI file of D1."""

from adapters.d1.openapi.bodies import Finding
from adapters.d1.openapi.compare import Compared, Comparison, compare, exchanges
from adapters.d1.openapi.document import Document, Operation, read
from adapters.d1.openapi.exchanges import Exchange
from adapters.d1.openapi.schema import UnusableFileError

__all__ = [
    "Compared",
    "Comparison",
    "Document",
    "Exchange",
    "Finding",
    "Operation",
    "UnusableFileError",
    "compare",
    "exchanges",
    "read",
]
