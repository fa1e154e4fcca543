"""Where the sandbox's console shows what a step does."""

from dataclasses import dataclass
from typing import Final

__all__ = [
    "AUTHENTICATIONS",
    "CALLBACKS",
    "CARDS",
    "FAULTS",
    "HANDLER",
    "LOG",
    "NOTIFICATIONS",
    "PHONE",
    "PURCHASES",
    "Sight",
]


@dataclass(frozen=True, slots=True)
class Sight:
    """A section of the console, and what to look at there."""

    section: str
    """The id of the section's heading, without ``-title``."""
    name: str
    """The heading."""
    look: str
    """What to look at."""


CARDS: Final = Sight("cards", "Cards", "Each card and its state at D1: it changes with the call.")
AUTHENTICATIONS: Final = Sight(
    "authentications", "3-D Secure", "The latest authentication with its result; open its AReq and ARes."
)
PURCHASES: Final = Sight(
    "purchases", "Purchases", "The latest purchase, and its picture: who sent what to whom, and when."
)
PHONE: Final = Sight(
    "phone", "Phone", "What the consumer gets, and does next: an SMS with an OTP, or a push to decide."
)
HANDLER: Final = Sight("handler", "The sandbox\u2019s handler", "The kinds of callbacks that it answers from now on.")
CALLBACKS: Final = Sight("calls", "Callbacks", "D1\u2019s callback: its kind, who answered, and how long it took.")
NOTIFICATIONS: Final = Sight(
    "notifications", "Notifications", "The notification with its cursor, as a service of yours receives it."
)
FAULTS: Final = Sight("faults", "Faults", "The active fault, and the number of calls that it still meets.")
LOG: Final = Sight("log", "The gateway\u2019s log", "The failed call with its reason and outcome.")
