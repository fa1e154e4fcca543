"""The seven rpcs of CardService, each with a request that has an effect at a prepared D1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from gateway.grpc_api.server import SERVICES
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from sandbox.d1.model.contract import InitialState, Operation, SuspendReason
from sandbox.d1.model.store import CardDetails, CardStore, Credentials
from tests.running import Running

__all__ = ["ACTIVE_PAN", "RPCS", "SUSPENDED_PAN", "Rpc", "changed", "credentials", "prepare", "rpcs"]

ACTIVE_PAN = "4000001234567899"
SUSPENDED_PAN = "5200001234567890"
_SECONDS = 10.0


def prepare(store: CardStore) -> None:
    """Give D1 an active card and one suspended as lost, both of consumer-1."""
    for card_id, pan in (("card-active", ACTIVE_PAN), ("card-suspended", SUSPENDED_PAN)):
        details = CardDetails("consumer-1", "light", InitialState.ACTIVE, credentials=Credentials(pan, "1228"))
        store.register(card_id, details)
    store.suspend("card-suspended", SuspendReason.CARD_LOST)


def credentials(pan: str, month: int = 12, year: int = 2035) -> card_data_pb2.CardCredentials:
    return card_data_pb2.CardCredentials(pan=pan, expiry=card_data_pb2.CardExpiry(month=month, year=year))


@dataclass(frozen=True, slots=True)
class Rpc:
    """An rpc that calls an upstream."""

    name: str
    operation: str
    """The call that it makes there: an `Operation` of the simulator."""
    request: Message
    """A request that succeeds at a prepared D1."""
    service: str
    """The stub of `tests.running.Running`."""

    @property
    def is_idempotent(self) -> bool:
        """Whether the contract declares that a repeated call does no harm."""
        pool = descriptor_pool.Default()
        (method,) = (
            method
            for service in SERVICES
            for method in pool.FindServiceByName(service).methods
            if method.input_type is self.request.DESCRIPTOR
        )
        return method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN

    async def call(
        self,
        running: Running,
        request: Message | None = None,
        *,
        timeout: float | None = _SECONDS,  # noqa: ASYNC109 (it is the deadline that the caller sends)
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Any:
        """Call it with its own request or another one."""
        stub = getattr(running, self.service)
        return await getattr(stub, self.name)(request or self.request, timeout=timeout, metadata=metadata)


def changed(request: Message, **fields: Any) -> Any:
    """Copy a request with some fields replaced; None clears one."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name, value in fields.items():
        copy.ClearField(name)
        if value is not None:
            copy.MergeFrom(type(request)(**{name: value}))
    return copy


def rpcs(service: str, requests: Mapping[str, Message]) -> Mapping[str, Rpc]:
    """Return the rpcs of a service by name, from the operation of each and its request."""
    made = [
        Rpc(type(request).__name__.removesuffix("Request"), operation, request, service)
        for operation, request in requests.items()
    ]
    return {rpc.name: rpc for rpc in made}


RPCS = rpcs(
    "cards",
    {
        Operation.CREATE_CARD: card.CreateCardRequest(
            consumer_id="consumer-1",
            card_product_id="full",
            accounts=[card.CardAccount(is_default=True, type="CURRENT", number="12345678", currency_code="EUR")],
        ),
        Operation.REGISTER_CARD: card.RegisterCardRequest(
            card_id="card-new",
            consumer_id="consumer-2",
            card_product_id="light",
            credentials=credentials("4970101234567890"),
        ),
        Operation.RENEW_CARD: card.RenewCardRequest(card_id="card-active", credentials=credentials(ACTIVE_PAN)),
        Operation.REPLACE_CARD: card.ReplaceCardRequest(
            card_id="card-active",
            reason_code="CARD_BROKEN",
            new_card_id="card-next",
            credentials=credentials("4970109876543210"),
        ),
        Operation.DELETE_CARD: card.DeleteCardRequest(card_id="card-active", reason_code="CLOSED_CARD"),
        Operation.SUSPEND_CARD: card.SuspendCardRequest(card_id="card-active", reason_code="FRAUD"),
        Operation.RESUME_CARD: card.ResumeCardRequest(card_id="card-suspended", reason_code="CARD_FOUND"),
    },
)
