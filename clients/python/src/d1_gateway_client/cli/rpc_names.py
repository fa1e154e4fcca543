"""The rpcs of the contracts, by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from google.protobuf.descriptor import MethodDescriptor

from issuer.callback.v1 import service_pb2 as callback
from issuer.card.v1 import service_pb2 as card
from issuer.consumer.v1 import service_pb2 as consumer
from issuer.notification.v1 import service_pb2 as notification
from issuer.threeds.v1 import service_pb2 as threeds

__all__ = ["Rpc", "UnusableRpcError", "find"]

_CLIENTS: Final[Mapping[str, str]] = {
    "CardService": "cards",
    "ConsumerService": "consumers",
    "AuthenticationService": "authentication",
    "OperationService": "operations",
    "NotificationService": "notifications",
}


_METHODS: Final[Mapping[str, MethodDescriptor]] = {
    f"{service.name}/{method.name}": method
    for file in (card, consumer, threeds, notification, callback)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class UnusableRpcError(Exception):
    """There is no such rpc, or it is a stream."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """An rpc that takes one request and gives one response."""

    method: MethodDescriptor

    @property
    def client(self) -> str:
        """The attribute of the client that has its service."""
        return _CLIENTS[self.method.containing_service.name]

    @property
    def function(self) -> str:
        """What the client calls it."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.method.name).lower()

    @property
    def has_request_id(self) -> bool:
        """Whether it changes something: a request id then keeps it from being done twice."""
        return "request_id" in self.method.input_type.fields_by_name


def find(name: str) -> Rpc:
    """Find an rpc.

    Args:
        name: ``Service/Method``, the service with or without its package.

    Raises:
        UnusableRpcError: There is none of that name, or it is a stream.
    """
    service, _, called = name.rpartition("/")
    short = f"{service.rpartition('.')[2]}/{called}"
    method = _METHODS.get(short)
    if method is None or service not in {method.containing_service.name, method.containing_service.full_name}:
        raise UnusableRpcError(f"there is no rpc of this name{_hint(short)}")
    if method.client_streaming:
        raise UnusableRpcError(f"{short} is a stream in both directions: a handler with d1-gateway-client answers it")
    if method.server_streaming:
        raise UnusableRpcError(f"{short} is a stream: use d1-gateway watch")
    return Rpc(method)


def _hint(name: str) -> str:
    """Name what may have been meant, by the whole name or by the method's alone; everything if nothing is near."""
    whole = {known.lower(): known for known in _METHODS}
    alone = {known.partition("/")[2].lower(): known for known in _METHODS}
    near = [whole[each] for each in get_close_matches(name.lower(), whole, cutoff=0.9)]
    near += [alone[each] for each in get_close_matches(name.lower().rpartition("/")[2], alone, cutoff=0.8)]
    if near:
        return f"; did you mean {' or '.join(dict.fromkeys(near))}?"
    return f"; there are {', '.join(_METHODS)}"
