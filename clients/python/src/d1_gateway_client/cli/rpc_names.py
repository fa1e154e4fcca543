"""The rpcs of the contracts, by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from google.protobuf.descriptor import MethodDescriptor

from d1_gateway_client.cli.descriptors import methods

__all__ = ["Rpc", "UnusableRpcError", "find"]

_CLIENTS: Final[Mapping[str, str]] = {
    "CardService": "cards",
    "ConsumerService": "consumers",
    "AuthenticationService": "authentication",
    "ThreeDSOperationService": "operations",
    "NotificationService": "notifications",
}

_STREAMS: Final[Mapping[str, str]] = {
    "CallbackService/HandleCallbacks": "answer",
    "NotificationService/BackfillNotifications": "backfill",
    "NotificationService/WatchNotifications": "watch",
}
"""The commands for streams."""


class UnusableRpcError(Exception):
    """The rpc does not exist, or it is a stream."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """An rpc with one request and one response."""

    method: MethodDescriptor

    @property
    def client(self) -> str:
        """The client's attribute for its service."""
        return _CLIENTS[self.method.containing_service.name]

    @property
    def function(self) -> str:
        """The name of the client's method."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.method.name).lower()

    @property
    def has_request_id(self) -> bool:
        """Whether it is a mutation: under one request id it is made once."""
        return "request_id" in self.method.input_type.fields_by_name


def find(name: str) -> Rpc:
    """Find an rpc.

    Args:
        name: ``Service/Method``, the service with or without its package.

    Raises:
        UnusableRpcError: The rpc does not exist, or it is a stream.
    """
    service, _, called = name.rpartition("/")
    short = f"{service.rpartition('.')[2]}/{called}"
    method = methods().get(short)
    if method is None or service not in {method.containing_service.name, method.containing_service.full_name}:
        raise UnusableRpcError(f"unknown rpc{_hint(short)}")
    if method.client_streaming or method.server_streaming:
        raise UnusableRpcError(f"{short} is a stream: use d1-gateway-client {_STREAMS[short]}")
    return Rpc(method)


def _hint(name: str) -> str:
    """Name the rpcs with a similar full name or method name; all rpcs if none is similar."""
    whole = {known.lower(): known for known in methods()}
    alone = {known.partition("/")[2].lower(): known for known in methods()}
    near = [whole[each] for each in get_close_matches(name.lower(), whole, cutoff=0.9)]
    near += [alone[each] for each in get_close_matches(name.lower().rpartition("/")[2], alone, cutoff=0.8)]
    if near:
        return f"; did you mean {' or '.join(dict.fromkeys(near))}?"
    return f"; the rpcs are {', '.join(methods())}"
