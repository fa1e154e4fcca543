"""The test cards: the last four digits of a card number select the outcome.

1st digit: the versions that the issuer supports. 2nd: its 3DS Method. 3rd and 4th: the authentication.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sandbox.threeds.contract import VERSIONS

__all__ = ["METHODS", "OUTCOMES", "RANGES", "Card", "End", "Method", "Outcome", "card_of"]


class Method(Enum):
    """The behaviour of the 3DS Method."""

    COMPLETES = auto()
    ABSENT = auto()
    """No URL."""
    HANGS = auto()
    """A URL whose page never reports completion."""


class End(Enum):
    """The end of a challenge or decoupled authentication."""

    PASSES = auto()
    FAILS = auto()
    ASKS = auto()
    """By decision: of the cardholder at the challenge page, or through the control API."""
    TYPES = auto()
    """By an OTP that the cardholder types at the challenge page, or by decision through the control API."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an authentication."""

    status: str | None
    """The ``transStatus`` of the ARes; None if the directory server does not respond."""
    end: End | None = None
    """What follows status C or D."""

    def exists_in(self, version: str) -> bool:
        """Return whether a version has this status."""
        return self.status not in {"I", "D"} or version != "2.1.0"


@dataclass(frozen=True, slots=True)
class Card:
    """The behaviour of a test card."""

    versions: tuple[str, ...]
    """The versions that its ACS supports, oldest first."""
    method: Method
    outcome: Outcome


RANGES: Mapping[str, tuple[str, ...]] = {"0": VERSIONS, "1": ("2.1.0",), "2": ("2.2.0",), "3": ("2.3.1",)}

METHODS: Mapping[str, Method] = {"0": Method.COMPLETES, "1": Method.ABSENT, "2": Method.HANGS}

OUTCOMES: Mapping[str, Outcome] = {
    "03": Outcome("Y"),
    "13": Outcome("N"),
    "23": Outcome("A"),
    "33": Outcome("R"),
    "43": Outcome("I"),
    "53": Outcome("U"),
    "63": Outcome(None),
    "70": Outcome("C", End.PASSES),
    "71": Outcome("C", End.FAILS),
    "72": Outcome("C", End.ASKS),
    # The simulator's own: the real server has no test card for an OTP to type or for decoupled authentication.
    "74": Outcome("C", End.TYPES),
    "80": Outcome("D", End.PASSES),
    "81": Outcome("D", End.FAILS),
    "82": Outcome("D", End.ASKS),
}


def card_of(pan: str) -> Card | None:
    """Return the test card of a number; None if it is not a test card's."""
    versions, method, outcome = RANGES.get(pan[-4]), METHODS.get(pan[-3]), OUTCOMES.get(pan[-2:])
    if versions is None or method is None or outcome is None:
        return None
    return Card(versions, method, outcome)
