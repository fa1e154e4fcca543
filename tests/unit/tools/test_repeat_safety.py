"""The lint that `make check` runs on every rpc's declaration about repeats."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodOptions

from tools.repeat_safety import faults

READ, IDEMPOTENT = MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT


def _image(comment: str, level: MethodOptions.IdempotencyLevel.ValueType | None, *fields: str) -> FileDescriptorSet:
    file = FileDescriptorProto(package="issuer.card.v1")
    message = file.message_type.add(name="FreezeRequest")
    for field in fields:
        message.field.add(name=field)
    method = file.service.add(name="CardService").method.add(name="Freeze", input_type=".issuer.card.v1.FreezeRequest")
    if level is not None:
        method.options.idempotency_level = level
    file.source_code_info.location.add(path=[6, 0, 2, 0], leading_comments=comment)
    return FileDescriptorSet(file=[file])


@pytest.mark.parametrize(
    ("level", "paragraph"),
    [
        (None, "Not idempotent: the second call finds the card frozen."),
        (READ, "Changes nothing."),
        (IDEMPOTENT, "Idempotent."),
    ],
)
def test_an_rpc_whose_comment_says_what_its_level_says_passes(
    level: MethodOptions.IdempotencyLevel.ValueType | None, paragraph: str
) -> None:
    assert faults(_image(f" Freezes a card.\n\n {paragraph}\n\n It fails with NOT_FOUND.\n", level)) == []


@pytest.mark.parametrize(
    ("level", "comment"),
    [
        (None, ""),
        (None, " Freezes a card.\n"),
        (None, " Freezes a card. Not idempotent.\n"),
        (None, " Freezes a card.\n\n Idempotent.\n"),
        (None, " Freezes a card.\n\n Idempotent.\n\n Not idempotent.\n"),
        (READ, " Freezes a card.\n\n Idempotent.\n"),
        (IDEMPOTENT, " Freezes a card.\n\n Not idempotent.\n"),
        (IDEMPOTENT, " Freezes a card.\n"),
    ],
)
def test_an_rpc_without_a_decision_or_with_another_in_its_comment_is_named(
    level: MethodOptions.IdempotencyLevel.ValueType | None, comment: str
) -> None:
    (fault,) = faults(_image(comment, level))
    assert fault.startswith("issuer.card.v1.CardService/Freeze: idempotency_level is ")


def test_a_request_with_a_request_id_is_no_read() -> None:
    comment = " Freezes a card.\n\n Changes nothing.\n"
    assert faults(_image(comment, READ, "card_id")) == []
    (fault,) = faults(_image(comment, READ, "card_id", "request_id"))
    assert "cannot be NO_SIDE_EFFECTS" in fault
