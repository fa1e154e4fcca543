"""What reflection serves: the contracts with readable rules, although the stubs do not import them (ADR 19)."""

from collections.abc import Iterable
from typing import Final

from google.protobuf import descriptor_pool, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from protovalidate import ViolationPb

__all__ = ["annotated_contracts"]

_RULES: Final = FileDescriptorProto.FromString(ViolationPb.desc().file.proto.to_binary())
"""``buf/validate/validate.proto``."""
_IMPORTED_BY_RULES: Final = (duration_pb2, field_mask_pb2, timestamp_pb2)
"""Named here, because only what a module imported is in the default pool."""
_RULES_TAG: Final = b"\xba\x48"
"""How an annotation begins in serialised options: field 1159, length-delimited."""


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
        if name == _RULES.name:
            return _RULES
        serialised = descriptor_pool.Default().FindFileByName(name).serialized_pb
        file = FileDescriptorProto.FromString(serialised)
        if name.startswith("issuer/") and _RULES_TAG in serialised:
            file.dependency.append(_RULES.name)
        return file

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptorProto:
        return self.FindFileByName(descriptor_pool.Default().FindFileContainingSymbol(symbol).name)
