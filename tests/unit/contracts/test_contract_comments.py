"""What the comments of the contracts say, held against the contracts and their rules."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import protovalidate
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    OneofDescriptorProto,
)
from google.protobuf.message_factory import GetMessageClass

from gateway.grpc_api import server  # noqa: F401  Registers every contract.
from tools import contracts as tool

_EMV = frozenset(f"issuer/threeds/v1/{name}.proto" for name in ("areq", "ares", "crd", "erro", "objects", "rreq"))
"""Where a comment also says what only some versions or the specification require."""
_RULED_ELSEWHERE = frozenset({("AuthenticateRequest", "areq")})
"""Required by the rules of EMV 3DS, which are no annotations."""
_INTERROGATIVES = frozenset({"How", "What", "When", "Where", "Which", "Who", "Whom", "Why"})
_NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][A-Za-z0-9]*)+\b")
"""How messages, enums, services and rpcs are named."""
_FOREIGN_NAMES = frozenset(
    {"BadRequest", "ErrorInfo", "JavaScript", "KiB", "ProtectBuy", "RetryInfo", "UnionPay", "WebAuthn"}
)


def _contracts() -> Iterator[FileDescriptorProto]:
    with TemporaryDirectory() as scratch:
        image = tool._image(Path(scratch), "issuer", "--include_source_info").read_bytes()
    return (file for file in FileDescriptorSet.FromString(image).file if file.name.startswith("issuer/"))


def _fields() -> Iterator[tuple[FileDescriptorProto, str, str, str]]:
    """Yield the file, message, name and comment of every field and oneof."""
    for file in CONTRACTS:
        comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for index, message in enumerate(file.message_type):
            parts: list[tuple[int, Sequence[FieldDescriptorProto | OneofDescriptorProto]]]
            parts = [(2, message.field), (8, message.oneof_decl)]
            for number, part in parts:
                for at, each in enumerate(part):
                    if comment := comments.get((4, index, number, at)):  # None at what `optional` implies.
                        yield file, message.name, each.name, " ".join(comment.split())


def _declared() -> Iterator[str]:
    """Yield the name of every message, enum, service and rpc."""
    for file in CONTRACTS:
        yield from (each.name for group in (file.message_type, file.enum_type, file.service) for each in group)
        yield from (rpc.name for service in file.service for rpc in service.method)


CONTRACTS = list(_contracts())
FIELDS = list(_fields())


def _missing(package: str, message: str) -> set[str]:
    """Return the fields and oneofs without which a message is invalid."""
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"{package}.{message}")
    violations = protovalidate.collect_violations(GetMessageClass(descriptor)())
    paths = [each.proto.field for each in violations]
    return {path.elements[0].field_name for path in paths if path is not None and path.elements}


def test_a_field_that_may_not_be_empty_is_called_required() -> None:
    silent = [
        f"{file.package}.{message}.{name}"
        for file, message, name, comment in FIELDS
        if name in _missing(file.package, message) and "equired" not in comment
    ]
    assert silent == []


def test_a_field_that_is_called_required_may_not_be_empty() -> None:
    wrong = [
        f"{file.package}.{message}.{name}"
        for file, message, name, comment in FIELDS
        if "Required." in comment
        and file.name not in _EMV
        and (message, name) not in _RULED_ELSEWHERE
        and name not in _missing(file.package, message)
    ]
    assert wrong == []


def test_the_comment_of_a_field_is_a_noun_phrase() -> None:
    assert len(FIELDS) > 400
    asking = [
        f"{file.package}.{message}.{name}: {comment}"
        for file, message, name, comment in FIELDS
        if comment.split()[0] in _INTERROGATIVES
    ]
    assert asking == []


def test_a_comment_names_only_what_the_contracts_have() -> None:
    known = _FOREIGN_NAMES.union(_declared())
    named = {
        (file.name, name)
        for file in CONTRACTS
        for place in file.source_code_info.location
        for name in _NAME.findall(place.leading_comments)
    }
    assert len(named) > 20
    assert sorted((file, name) for file, name in named if name not in known) == []
