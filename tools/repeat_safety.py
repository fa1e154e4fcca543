"""Checks that every rpc declares whether a repeat is harmless, and that its comment says the same.

The declaration is protobuf's own ``idempotency_level``. The gateway, the client's table and the docs derive from it;
the comment is what people read. An unset level counts as not idempotent, so its comment must say so: a new rpc passes
only after somebody has decided.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)

__all__ = ["faults", "is_idempotent"]

_WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        MethodOptions.IDEMPOTENCY_UNKNOWN: "Not idempotent",
        MethodOptions.NO_SIDE_EFFECTS: "Changes nothing",
        MethodOptions.IDEMPOTENT: "Idempotent",
    }
)
"""How the paragraph on repeats begins in an rpc's comment, by level."""

_SERVICE: Final = FileDescriptorProto.SERVICE_FIELD_NUMBER
_METHOD: Final = ServiceDescriptorProto.METHOD_FIELD_NUMBER


def is_idempotent(method: MethodDescriptorProto) -> bool:
    """Return whether a repeated call does no harm."""
    return method.options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN


def faults(image: FileDescriptorSet) -> list[str]:
    """Return what is wrong with the declarations of an image's rpcs; the image must include comments."""
    with_request_id = {
        f".{file.package}.{message.name}"
        for file in image.file
        for message in file.message_type
        if any(field.name == "request_id" for field in message.field)
    }
    return [
        f"{name}: {fault}"
        for file in image.file
        for name, method, comment in _methods(file)
        for fault in _faults(method, comment, has_request_id=method.input_type in with_request_id)
    ]


def _methods(file: FileDescriptorProto) -> Iterator[tuple[str, MethodDescriptorProto, str]]:
    comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for i, service in enumerate(file.service):
        for j, method in enumerate(service.method):
            yield f"{file.package}.{service.name}/{method.name}", method, comments.get((_SERVICE, i, _METHOD, j), "")


def _faults(method: MethodDescriptorProto, comment: str, *, has_request_id: bool) -> Iterator[str]:
    level = method.options.idempotency_level
    paragraphs = [paragraph.strip() for paragraph in comment.split("\n\n")]
    said = [words for paragraph in paragraphs for words in _WORDS.values() if paragraph.startswith(words)]
    if said != [_WORDS[level]]:
        expected = f"one paragraph that begins with {_WORDS[level]!r}, not {said or 'none'}"
        yield f"idempotency_level is {MethodOptions.IdempotencyLevel.Name(level)}: the comment needs {expected}"
    if has_request_id and level == MethodOptions.NO_SIDE_EFFECTS:
        yield "a request with a request_id changes something, so its level cannot be NO_SIDE_EFFECTS"
