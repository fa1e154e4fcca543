"""The annotations of the contracts, `buf.validate`, which the stubs carry without importing them (ADR 19)."""

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from protovalidate import ViolationPb

__all__ = ["ANNOTATIONS_FILE", "field_rules"]

ANNOTATIONS_FILE: Final = FileDescriptorProto.FromString(ViolationPb.desc().file.proto.to_binary())
"""The file ``buf/validate/validate.proto``."""
_IMPORTED: Final = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)
"""What that file imports. Imported here, so that reflection finds it in the default pool too."""


def field_rules(field: FieldDescriptor) -> Any:
    """Return the rules of a field: a ``buf.validate.FieldRules``, empty if the field has none."""
    options, extension = _readable_options()
    return options.FromString(field.GetOptions().SerializeToString()).Extensions[extension]


@cache
def _readable_options() -> tuple[Any, FieldDescriptor]:
    """Return the class of fields' options in a pool that knows the rules, and the extension that holds them."""
    pool = DescriptorPool()
    for module in _IMPORTED:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(ANNOTATIONS_FILE)
    options = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
    return options, pool.FindExtensionByName("buf.validate.field")
