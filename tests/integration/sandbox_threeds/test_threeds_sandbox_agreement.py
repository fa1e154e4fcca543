"""Gateway and simulator use the same tables, over protobuf and over JSON, and reject the same messages."""

from collections.abc import Mapping

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
    """An AReq in one version and channel, changed in one place at a time."""

    def __init__(self, version: str, channel: str) -> None:
        self._scene = Scene(version, channel)
        self._areq = areq_pb2.AReq()
        self.compared = 0
        fill(self._areq, table("AReq"), version, channel, "01")

    def run(self) -> None:
        self._compare("nothing")
        self._change(self._areq, table("AReq").fields(self._scene.version))

    def _change(self, message: Message, rows: Mapping[str, Row]) -> None:
        for field, _ in list(message.ListFields()):
            row = rows[field.json_name]
            before = type(message)()
            before.CopyFrom(message)
            message.ClearField(field.name)
            self._compare(f"{field.name} taken out")
            message.CopyFrom(before)
            if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
                # In protobuf an empty text is an absent one.
                for text in filter(None, (text for text, _ in bad_texts(row, ascii_only=True))):
                    setattr(message, field.name, text)
                    self._compare(f"{field.name} with a bad text")
                message.CopyFrom(before)
            elif row.type in objects() and not field.is_repeated:
                self._change(getattr(message, field.name), objects()[row.type].fields(self._scene.version))

    def _compare(self, change: str) -> None:
        scene = self._scene
        refused = check(self._areq, version=scene.version, channel=scene.channel, category=scene.category)
        found = problems(encode(self._areq, scene.version), "AReq", scene)
        assert len({violation.field for violation in refused}) == len({problem.path for problem in found}), change
        self.compared += 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("channel", ["01", "02", "03"])
def test_the_gateway_refuses_what_the_simulator_refuses(version: str, channel: str) -> None:
    comparison = Comparison(version, channel)

    comparison.run()

    assert comparison.compared > 200
