"""How ids are written: plain, keyed or masked."""

import hmac
import re
from typing import Final, Literal, TypeAlias

__all__ = ["Form", "IdWriter"]

Form: TypeAlias = Literal["plain", "keyed", "masked"]

_SHOWN: Final = 4
# A card number has 13 to 19 digits, in groups or not. What is no card number loses its digits too: use keyed ids then.
_CARD_NUMBER: Final = re.compile(r"[0-9](?:[ ._-]?[0-9]){12,}")


class IdWriter:
    """Writes ids in the form that the settings name."""

    def __init__(self, form: Form, key: bytes | None) -> None:
        """Take the form, and the key for keyed ids.

        Raises:
            ValueError: There is no key for keyed ids.
        """
        if form == "keyed" and key is None:
            raise ValueError("keyed ids need a key")
        self._form = form
        self._key = key or b""

    def write(self, field: str, value: str) -> str:
        """Return an id as the trail has it; an empty one stays empty.

        Args:
            field: The name of its field. The same value in another field is another text, if ids are keyed.
            value: The id.
        """
        if not value:
            return ""
        match self._form:
            case "plain":
                return self.without_card_numbers(value)
            case "keyed":
                # The seal's texts begin with a brace, so none is ever an id's.
                return hmac.digest(self._key, f"{field}:{value}".encode(), "sha256").hex()
            case "masked":
                return _masked(value)

    def without_card_numbers(self, value: str) -> str:
        """Return a text that is no id of a card or person, with what may be a card number masked."""
        return _CARD_NUMBER.sub(lambda number: _masked(number[0]), value)


def _masked(value: str) -> str:
    # Of a short id, four characters would be most of it.
    return f"****{value[-_SHOWN:]}" if len(value) > 2 * _SHOWN else "****"
