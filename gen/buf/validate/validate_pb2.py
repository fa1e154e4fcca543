"""The descriptor of ``buf/validate/validate.proto``, which the generated modules import.

protovalidate carries it for its own runtime; here it is handed to the pool of google.protobuf.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2, timestamp_pb2
from protovalidate._gen.buf.validate import validate_pb

# Imported for their effect: the pool has to know them first.
__all__ = ["DESCRIPTOR", "descriptor_pb2", "duration_pb2", "field_mask_pb2", "timestamp_pb2"]

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(validate_pb._DESC.proto.to_binary())
