"""Which servicer serves which service, and how each is registered."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.descriptor import FileDescriptor

from gateway.grpc_api.services import notifications
from gateway.grpc_api.services.authentication import AuthenticationServicer
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.grpc_api.services.cards import CardServicer
from gateway.grpc_api.services.consumers import ConsumerServicer
from gateway.grpc_api.services.notifications import NotificationServicer
from gateway.grpc_api.services.operations import OperationServicer
from issuer.callback.v1 import service_pb2 as callback_service
from issuer.callback.v1 import service_pb2_grpc as callback_grpc
from issuer.card.v1 import service_pb2 as card_service
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.consumer.v1 import service_pb2 as consumer_service
from issuer.consumer.v1 import service_pb2_grpc as consumer_grpc
from issuer.notification.v1 import service_pb2 as notification_service
from issuer.threeds.v1 import service_pb2 as threeds_service
from issuer.threeds.v1 import service_pb2_grpc as threeds_grpc

__all__ = ["SERVICES", "Servicer", "register"]

Servicer: TypeAlias = (
    AuthenticationServicer
    | CallbackServicer
    | CardServicer
    | ConsumerServicer
    | NotificationServicer
    | OperationServicer
)
"""Whoever serves one of the gateway's services."""

_Add: TypeAlias = Callable[[Any, grpc.aio.Server], None]

_SERVICES: Final[Mapping[type[Servicer], tuple[FileDescriptor, str, _Add]]] = MappingProxyType(
    {
        AuthenticationServicer: (
            threeds_service.DESCRIPTOR,
            "AuthenticationService",
            threeds_grpc.add_AuthenticationServiceServicer_to_server,
        ),
        CallbackServicer: (
            callback_service.DESCRIPTOR,
            "CallbackService",
            callback_grpc.add_CallbackServiceServicer_to_server,
        ),
        CardServicer: (card_service.DESCRIPTOR, "CardService", card_grpc.add_CardServiceServicer_to_server),
        ConsumerServicer: (
            consumer_service.DESCRIPTOR,
            "ConsumerService",
            consumer_grpc.add_ConsumerServiceServicer_to_server,
        ),
        NotificationServicer: (notification_service.DESCRIPTOR, "NotificationService", notifications.add_to_server),
        OperationServicer: (
            threeds_service.DESCRIPTOR,
            "OperationService",
            threeds_grpc.add_OperationServiceServicer_to_server,
        ),
    }
)


SERVICES: Final = tuple(str(file.services_by_name[name].full_name) for file, name, _ in _SERVICES.values())
"""The full names of all services."""


def register(servicer: Servicer, server: grpc.aio.Server) -> str:
    """Let a server serve a service. Returns the service's full name."""
    file, name, add = _SERVICES[type(servicer)]
    add(servicer, server)
    full_name: str = file.services_by_name[name].full_name
    return full_name
