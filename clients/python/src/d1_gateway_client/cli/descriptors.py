"""The contracts for google.protobuf, which reads and writes proto3 JSON strictly and with the contracts' own names.

betterproto2 knows no ``json_name`` and accepts values of the wrong type.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import betterproto2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from d1_gateway_client import contracts
from d1_gateway_client.contracts.message_pool import default_message_pool

__all__ = ["as_client_message", "methods", "to_json"]


@cache
def methods() -> dict[str, MethodDescriptor]:
    """Map ``Service/Method`` to the descriptor of every rpc."""
    pool = _pool()
    return {
        f"{service.name}/{method.name}": method
        for file in _files().file
        for service in pool.FindFileByName(file.name).services_by_name.values()
        for method in service.methods
    }


def to_json(message: betterproto2.Message, indent: int | None = 2) -> str:
    """Write one of the client's messages as proto3 JSON, in ASCII."""
    name = default_message_pool.type_to_url[type(message)].rpartition("/")[2]
    kind = GetMessageClass(_pool().FindMessageTypeByName(name))
    return MessageToJson(kind.FromString(bytes(message)), indent=indent)


def as_client_message(message: Message) -> Any:
    """Convert a message of google.protobuf to the client's own class."""
    url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    return default_message_pool.url_to_type[url].parse(message.SerializeToString())


@cache
def _files() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(files(contracts).joinpath("descriptors.binpb").read_bytes())


@cache
def _pool() -> DescriptorPool:
    # A separate pool: the default one may hold other versions of the same stubs.
    pool = DescriptorPool()
    for file in _files().file:
        pool.Add(file)
    return pool
