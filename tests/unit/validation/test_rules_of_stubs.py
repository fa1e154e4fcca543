"""The stubs import no rules (ADR 19), and protovalidate finds them all the same."""

import subprocess
import sys
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator

from gateway.grpc_api.reflection import annotated_contracts
from gateway.grpc_api.server import SERVICES
from issuer.card.v1 import messages_pb2 as card

_IMPORT_STUBS = """
import sys
import issuer.callback.v1.service_pb2_grpc
import issuer.card.v1.service_pb2_grpc
import issuer.consumer.v1.service_pb2_grpc
import issuer.notification.v1.service_pb2_grpc
import issuer.threeds.v1.service_pb2_grpc
print(*sys.modules)
"""


def _rule_ids(message: Message) -> list[str | None]:
    return [each.proto.rule_id for each in Validator().collect_violations(message)]


def _messages(pool: descriptor_pool.DescriptorPool) -> Iterator[Descriptor]:
    """Find the messages of the services' files and of all that they import."""
    files = {pool.FindFileContainingSymbol(service) for service in SERVICES}
    found = {file.name: file for file in files}
    while files:
        files = {each for file in files for each in file.dependencies if each.name not in found}
        found |= {file.name: file for file in files}
    for name, file in sorted(found.items()):
        if name.startswith("issuer/"):
            yield from _nested(file.message_types_by_name.values())


def _nested(messages: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from _nested(message.nested_types)


def test_a_process_with_the_stubs_loads_no_validator_and_no_package_buf() -> None:
    command = [sys.executable, "-c", _IMPORT_STUBS]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    assert {name.partition(".")[0] for name in loaded.stdout.split()}.isdisjoint({"buf", "protovalidate"})


def test_a_request_that_breaks_a_rule_is_found() -> None:
    request = card.SuspendCardRequest(request_id="x", card_id="card-1", reason_code="FRAUD")
    assert _rule_ids(request) == ["string.uuid"]


def test_a_message_breaks_the_same_rules_as_if_its_file_imported_them() -> None:
    annotated = annotated_contracts(SERVICES)
    broken = {each.full_name: _rule_ids(GetMessageClass(each)()) for each in _messages(descriptor_pool.Default())}
    assert broken == {each.full_name: _rule_ids(GetMessageClass(each)()) for each in _messages(annotated)}
    assert len([rules for rules in broken.values() if rules]) > 20
