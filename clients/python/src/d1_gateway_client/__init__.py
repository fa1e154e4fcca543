"""The Python client of d1-gateway.

`AsyncGatewayClient` and `GatewayClient` call it and watch its notifications; `CallbackHandler` answers D1's callbacks;
`d1_gateway_client.browser` reads what a cardholder's browser brings back.
The messages are in ``d1_gateway_client.contracts.issuer.<area>.v1``, with the contracts' comments.
"""

from d1_gateway_client._backfilling import BackfillProgress
from d1_gateway_client.callbacks import CallbackContext, CallbackHandler, CallbackRefusalReason, Refuse
from d1_gateway_client.client import AsyncGatewayClient, GatewayClient
from d1_gateway_client.errors import ErrorOutcome, ErrorReason, FieldViolation, GatewayError
from d1_gateway_client.options import Options
from d1_gateway_client.watching import AsyncWatch, Watch

__all__ = [
    "AsyncGatewayClient",
    "AsyncWatch",
    "BackfillProgress",
    "CallbackContext",
    "CallbackHandler",
    "CallbackRefusalReason",
    "ErrorOutcome",
    "ErrorReason",
    "FieldViolation",
    "GatewayClient",
    "GatewayError",
    "Options",
    "Refuse",
    "Watch",
]
