"""Server reflection: the contracts with readable rules, under both names of the service.

grpcio-reflection has only ``grpc.reflection.v1alpha``. The messages of ``v1`` are the same on the wire, so one servicer
serves both. The rules are readable although the stubs do not import them (ADR 19).
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

from gateway.grpc_api.endless import EndlessStreams
from gateway.grpc_api.interceptors.chain import Chain, Context
from gateway.validation.annotations import ANNOTATIONS_FILE

__all__ = ["SERVICES", "add_to_chain", "annotated_contracts"]

_RULES_TAG: Final = b"\xba\x48"
"""How an annotation begins in serialised options: field 1159, length-delimited."""


def _register_v1() -> str:
    """Add v1 to the descriptor pool, for the policy and for clients that ask for it. Returns the service's name."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.options.ClearField("deprecated")
    renamed = text_format.Parse(text_format.MessageToString(file).replace("v1alpha", "v1"), FileDescriptorProto())
    descriptor_pool.Default().Add(renamed)
    return f"{renamed.package}.{renamed.service[0].name}"


SERVICES: Final = (_register_v1(), str(reflection.SERVICE_NAME))
"""The full names of both services."""


def add_to_chain(chain: Chain, services: Sequence[str], endless: EndlessStreams) -> None:
    """Register both services.

    Args:
        chain: The chain of the server.
        services: The full names of the server's other services; those of `SERVICES` are listed beside them.
        endless: Runs the streams.
    """
    names = (*services, *SERVICES)
    servicer = reflection.aio.ReflectionServicer(names, annotated_contracts(names))

    async def serve(requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context) -> None:
        await endless.run(answer(requests, context))

    async def answer(requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context) -> None:
        # An asynchronous generator, although the stubs say otherwise.
        replies: Any = servicer.ServerReflectionInfo(requests, context)
        async with aclosing(replies):
            async for reply in replies:
                await context.write(reply)

    handler = grpc.stream_stream_rpc_method_handler(
        serve,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in SERVICES:
        chain.add_registered_method_handlers(service, {"ServerReflectionInfo": handler})


def annotated_contracts(services: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """Return a pool of services, by full name, in which the annotated files import ``buf/validate/validate.proto``.

    Clients without the contracts then see rules instead of unknown options.
    """
    pool = descriptor_pool.DescriptorPool(_Files())
    for service in services:
        pool.FindServiceByName(service)
    return pool


class _Files:
    """A descriptor database: the files of the default pool, from which the returned pool is built."""

    def FindFileByName(self, name: str) -> FileDescriptorProto:
        if name == ANNOTATIONS_FILE.name:
            return ANNOTATIONS_FILE
        serialised = descriptor_pool.Default().FindFileByName(name).serialized_pb
        file = FileDescriptorProto.FromString(serialised)
        if name.startswith("issuer/") and _RULES_TAG in serialised:
            file.dependency.append(ANNOTATIONS_FILE.name)
        return file

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptorProto:
        return self.FindFileByName(descriptor_pool.Default().FindFileContainingSymbol(symbol).name)
