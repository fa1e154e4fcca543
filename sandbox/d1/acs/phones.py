"""The phones of simulated consumers: what D1 sends them by SMS, for people to read."""

from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["Phones", "Sms"]


@dataclass(frozen=True, slots=True)
class Sms:
    """A message that D1 sent."""

    phone: str = field(repr=False)
    """The number that it went to, for example ``+962790000000``."""
    language: str
    """What D1 was told the consumer speaks; the text is English all the same."""
    text: str = field(repr=False)
    otp: str = field(repr=False)
    """The password in the text."""
    purchase_id: str
    sent: datetime


class Phones:
    """Every message since the sandbox was started."""

    def __init__(self) -> None:
        self._messages: list[Sms] = []

    def receive(self, message: Sms) -> None:
        """Take a message."""
        self._messages.append(message)

    def messages(self, purchase_id: str | None = None) -> list[Sms]:
        """The messages in the order in which they came; those of one purchase, or all."""
        return [message for message in self._messages if purchase_id in {None, message.purchase_id}]
