"""The form fields in which 3-D Secure messages travel through a browser: JSON as base64url (RFC 4648 section 5).

EMV 3DS wants them without padding (Protocol and Core Functions Specification: base64url encoding of CReq, CRes and
3DS Method data). Not every ACS keeps to it, so padding is taken and never written.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["FormFieldError", "decode", "encode"]

_LONGEST = 100_000
"""More characters than any message of a browser needs, its extensions included."""
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")


class FormFieldError(ValueError):
    """A form field that does not hold what it should. The text never quotes it."""


def encode(message: Mapping[str, str]) -> str:
    """Write a JSON object as base64url without padding."""
    return base64.urlsafe_b64encode(orjson.dumps(message)).decode().rstrip("=")


def decode(field: str) -> dict[str, Any]:
    """Read a JSON object from base64url, padded or not.

    Raises:
        FormFieldError: It is nothing of that kind.
    """
    if len(field) > _LONGEST:
        raise FormFieldError(f"a form field of more than {_LONGEST} characters")
    digits = field.strip().rstrip("=")
    if not _ALPHABET.fullmatch(digits):
        raise FormFieldError("a form field that is not base64url")
    try:
        message: Any = orjson.loads(base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        raise FormFieldError("a form field that holds no JSON") from None
    if not isinstance(message, dict):
        raise FormFieldError("a form field that holds no JSON object")
    return message
