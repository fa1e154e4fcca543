"""Personal data of a consumer (D1 API: consumer information), from registration or a callback reply."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.common.fields import InvalidFormatError, optional_text
from sandbox.d1.model import contract

__all__ = ["PersonalInformation"]

_TEXTS = {
    "language": contract.LANGUAGE,
    "firstName": contract.PERSON_NAME,
    "middleName": contract.PERSON_NAME,
    "lastName": contract.PERSON_NAME,
    "title": contract.PERSON_TITLE,
    "dateOfBirth": contract.BIRTH_DATE,
    "email": contract.EMAIL,
}
_PHONE = "mobilePhoneNumber"
_PHONE_PARTS = {"countryCode": contract.CALLING_CODE, "phoneNumber": contract.PHONE_NUMBER}
_ADDRESS = "residencyAddress"
_SOME_TEXT = re.compile(r"(?s).+")
_ADDRESS_LINES = ("line1", "line2", "city", "state", "zipCode")


@dataclass(frozen=True, slots=True)
class PersonalInformation:
    """Checked personal data. Its repr shows none of them."""

    fields: Mapping[str, Any] = field(repr=False)
    """The data as received, without fields outside the contract."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "PersonalInformation":
        """Check and take a JSON object; every field is optional.

        Raises:
            InvalidFormatError: A field is malformed.
        """
        for name, pattern in _TEXTS.items():
            optional_text(body, name, pattern)
        if _PHONE in body:
            phone = _object(body, _PHONE)
            for name, pattern in _PHONE_PARTS.items():
                # Without one of its parts, a phone number is unusable.
                if optional_text(phone, name, pattern) is None:
                    raise InvalidFormatError(f"{_PHONE}.{name}")
        if _ADDRESS in body:
            address = _object(body, _ADDRESS)
            for name in _ADDRESS_LINES:
                optional_text(address, name, _SOME_TEXT)
            optional_text(address, "countryCode", contract.COUNTRY_CODE)
        known = (*_TEXTS, _PHONE, _ADDRESS)
        return cls({name: body[name] for name in known if name in body})

    @property
    def language(self) -> str | None:
        """Language and country, for example ``en-US``."""
        return self.fields.get("language")

    @property
    def phone(self) -> str | None:
        """The mobile phone number, for example ``+962790000000``."""
        number = self.fields.get(_PHONE)
        return None if number is None else f"{number['countryCode']}{number['phoneNumber']}"


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body[name]
    # D1 refuses empty objects, and empty texts.
    if not isinstance(value, dict) or not value:
        raise InvalidFormatError(name)
    return value
