"""The fields of an AReq that decide which rules apply: its version, channel and category."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.threeds.rules.checks import Fault, names, one_of, required
from gateway.threeds.rules.codes import codes_of
from gateway.threeds.rules.formats import Requirement, expand
from gateway.threeds.rules.tables import DS_DEFINED
from issuer.threeds.v1 import areq_pb2

__all__ = ["SELECTORS", "Selector"]


@dataclass(frozen=True, slots=True)
class Selector:
    """An enum field, and the text field beside it for the codes that the enum lacks."""

    name: str
    codes: Mapping[int, str]
    """The codes of the enum, by number."""
    text: str = ""
    """The text field; empty if there is none."""
    ds_codes: frozenset[str] = frozenset()
    """What the text may be: the codes that a DS may define."""

    def code(self, areq: areq_pb2.AReq) -> str:
        """Return the code for the tables: the enum's, `DS_DEFINED` for a right text, empty if missing or wrong."""
        number = getattr(areq, self.name)
        if number or not self.text:
            return self.codes.get(number, "")
        return DS_DEFINED if getattr(areq, self.text) in self.ds_codes else ""

    def fault(self, areq: areq_pb2.AReq) -> Fault:
        """Return what is wrong where there is no code."""
        number = getattr(areq, self.name)
        if self.text and not number and getattr(areq, self.text):
            allowed = f"must be a code from {min(self.ds_codes)} to {max(self.ds_codes)}"
            return Fault(self.text, Requirement("emv.code", allowed, bool))
        choices = names(areq.DESCRIPTOR.fields_by_name[self.name], self.codes)
        if number:
            return Fault(self.name, one_of(choices))
        if self.text:
            choices.append(f"a DS's own code in {self.text}")
        return Fault(self.name, required(one_of(choices)))


def _selector(name: str) -> Selector:
    fields = areq_pb2.AReq.DESCRIPTOR.fields_by_name
    codes = codes_of(fields[name].enum_type)
    if f"{name}_text" not in fields:
        return Selector(name, codes.by_number)
    ds_codes = frozenset(expand([DS_DEFINED])).difference(codes.by_number.values())
    return Selector(name, codes.by_number, f"{name}_text", ds_codes)


SELECTORS = tuple(_selector(name) for name in ("message_version", "device_channel", "message_category"))
"""The selectors, in the order of `gateway.threeds.rules.checks.Profile`."""
