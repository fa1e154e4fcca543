"""Reads the form fields that a cardholder's browser brings back after a challenge and after the 3DS Method.

They came through the browser, so they prove nothing: find the transaction among those that wait for a result, and take
the result from ``GetChallengeResult``.
"""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

__all__ = ["CRes", "FormFieldError", "parse_cres", "parse_method_completion"]

_MAX_CHARACTERS = 100_000
"""More than any browser message needs, extensions included."""
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")


class FormFieldError(ValueError):
    """A form field with unexpected content. The text never quotes it."""


@dataclass(frozen=True, slots=True)
class CRes:
    """A final challenge response (EMV 3DS: CRes, browser channel)."""

    three_ds_server_trans_id: str
    acs_trans_id: str
    message_version: str
    trans_status: str
    """The code as received; empty if absent."""


def parse_cres(cres: str) -> CRes:
    """Read what the browser posts to the AReq's ``notification_url`` after a challenge.

    Args:
        cres: The form field ``cres``.

    Raises:
        FormFieldError: The field contains no CRes.
    """
    message = _decode(cres)
    if message.get("messageType") != "CRes":
        raise FormFieldError("the form field contains no CRes")
    parsed = CRes(
        three_ds_server_trans_id=_text(message, "threeDSServerTransID"),
        acs_trans_id=_text(message, "acsTransID"),
        message_version=_text(message, "messageVersion"),
        trans_status=_text(message, "transStatus"),
    )
    if not parsed.three_ds_server_trans_id:
        raise FormFieldError("the CRes has no transaction id")
    return parsed


def parse_method_completion(three_ds_method_data: str) -> str:
    """Read what the browser posts to the ``three_ds_method_notification_url`` when the 3DS Method is done.

    Args:
        three_ds_method_data: The form field ``threeDSMethodData``.

    Returns:
        The ``three_ds_server_trans_id``, in lower case.

    Raises:
        FormFieldError: The field contains no completion.
    """
    transaction = _decode(three_ds_method_data).get("threeDSServerTransID")
    try:
        return str(UUID(transaction))
    except (AttributeError, TypeError, ValueError):
        raise FormFieldError("the 3DS Method completion has no transaction id") from None


def _decode(field: str) -> dict[str, Any]:
    """Read a JSON object from base64url. EMV 3DS forbids padding, but not every ACS complies."""
    if len(field) > _MAX_CHARACTERS:
        raise FormFieldError(f"the form field has more than {_MAX_CHARACTERS} characters")
    digits = field.strip().rstrip("=")
    if not _ALPHABET.fullmatch(digits):
        raise FormFieldError("the form field is not base64url")
    try:
        message: Any = json.loads(base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise FormFieldError("the form field contains no JSON") from None
    if not isinstance(message, dict):
        raise FormFieldError("the form field contains no JSON object")
    return message


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormFieldError(f"the CRes's {name} is not text")
    return value
