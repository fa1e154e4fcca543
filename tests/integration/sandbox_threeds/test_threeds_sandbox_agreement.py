"""Gateway and simulator use the same tables, over protobuf and over JSON, and reject the same messages."""

import itertools
import re
from collections.abc import Iterator, Mapping

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from adapters.threeds.codec import encode
from gateway.threeds.rules.compiler import check
from gateway.threeds.rules.tables import Row, objects, table
from issuer.threeds.v1 import areq_pb2
from sandbox.threeds.validation import Scene, problems
from tests.contract.areqs import VERSIONS
from tests.unit.threeds.threeds_samples import bad_texts, fill


class Comparison:
    """A full AReq in one version and channel."""

    def __init__(self, version: str, channel: str) -> None:
        self._scene = Scene(version, channel)
        self._areq = areq_pb2.AReq()
        fill(self._areq, table("AReq"), version, channel, "01")
        self._names: dict[str, str] = {}
        """The JSON names of the fields."""

    def fields(self) -> Iterator[tuple[Message, FieldDescriptor, Row]]:
        """Return every field, those of nested objects after the object, with the message that has it."""
        yield from self._fields(self._areq, table("AReq").fields(self._scene.version))

    def _fields(self, message: Message, rows: Mapping[str, Row]) -> Iterator[tuple[Message, FieldDescriptor, Row]]:
        for field, _ in list(message.ListFields()):
            row = rows[field.json_name]
            self._names[field.name] = field.json_name
            yield message, field, row
            if row.type in objects() and not field.is_repeated:
                yield from self._fields(getattr(message, field.name), objects()[row.type].fields(self._scene.version))

    def refused_by_gateway(self) -> set[str]:
        scene = self._scene
        violations = check(self._areq, version=scene.version, channel=scene.channel, category=scene.category)
        return {re.sub(r"\w+", lambda name: self._names.get(name[0], name[0]), each.field) for each in violations}

    def refused(self) -> set[str]:
        """Return the paths of the refused fields, the same from both."""
        message = encode(self._areq, self._scene.version)
        by_gateway = self.refused_by_gateway()
        assert by_gateway == {problem.path for problem in problems(message, "AReq", self._scene)}
        return by_gateway


@pytest.fixture(params=itertools.product(VERSIONS, ("01", "02", "03")), ids="-".join)
def comparison(request: pytest.FixtureRequest) -> Comparison:
    return Comparison(*request.param)


def test_the_gateway_refuses_each_missing_field_that_the_simulator_refuses(comparison: Comparison) -> None:
    assert comparison.refused() == set()

    needed = []
    for message, field, _ in comparison.fields():
        before = type(message)()
        before.CopyFrom(message)
        message.ClearField(field.name)
        needed.append(comparison.refused())
        message.CopyFrom(before)
    assert len(needed) > 60
    assert len(set().union(*needed)) > 10


def test_the_gateway_refuses_the_bad_texts_that_the_simulator_refuses(comparison: Comparison) -> None:
    texts = {}
    for message, field, row in comparison.fields():
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            # In protobuf an empty text is an absent one.
            bad = [text for text, _ in bad_texts(row, ascii_only=True) if text]
            texts[id(message), field.name] = (message, bad)
    assert len(texts) > 30

    for (_, name), (message, bad) in texts.items():
        good = getattr(message, name)
        for text in bad:
            setattr(message, name, text)
            assert comparison.refused_by_gateway(), f"{name} alone"
        setattr(message, name, good)
    for place in range(max(len(bad) for _, bad in texts.values())):
        changed = 0
        for (_, name), (message, bad) in texts.items():
            if place < len(bad):
                setattr(message, name, bad[place])
                changed += 1
        assert len(comparison.refused()) >= changed
