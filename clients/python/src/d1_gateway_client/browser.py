"""Reads the form fields that a cardholder's browser brings back: after a challenge, and after the 3DS Method.

They came through the browser, so they prove nothing: look the transaction up among those that wait for one, and take
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
"""More than any message of a browser needs, its extensions included."""
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")


class FormFieldError(ValueError):
    """A form field that does not hold what it should. The text never quotes it."""


@dataclass(frozen=True, slots=True)
class CRes:
    """A final challenge response (EMV 3DS: CRes, browser channel)."""

    three_ds_server_trans_id: str
    acs_trans_id: str
    message_version: str
    trans_status: str
    """The code as it came; empty if there was none."""


def parse_cres(cres: str) -> CRes:
    """Read what the browser posts to the AReq's ``notification_url`` after a challenge.

    Args:
        cres: The form field ``cres``.

    Raises:
        FormFieldError: It is no CRes.
    """
    message = _decode(cres)
    if message.get("messageType") != "CRes":
        raise FormFieldError("a form field that holds no CRes")
    parsed = CRes(
        three_ds_server_trans_id=_text(message, "threeDSServerTransID"),
        acs_trans_id=_text(message, "acsTransID"),
        message_version=_text(message, "messageVersion"),
        trans_status=_text(message, "transStatus"),
    )
    if not parsed.three_ds_server_trans_id:
        raise FormFieldError("a CRes without a transaction id")
    return parsed


def parse_method_completion(three_ds_method_data: str) -> str:
    """Read what the browser posts to the ``three_ds_method_notification_url`` when the 3DS Method is done.

    Args:
        three_ds_method_data: The form field ``threeDSMethodData``.

    Returns:
        The ``three_ds_server_trans_id``, in lower case.

    Raises:
        FormFieldError: It is no completion.
    """
    transaction = _decode(three_ds_method_data).get("threeDSServerTransID")
    try:
        return str(UUID(transaction))
    except (AttributeError, TypeError, ValueError):
        raise FormFieldError("a 3DS Method completion without a transaction id") from None


def _decode(field: str) -> dict[str, Any]:
    """Read a JSON object from base64url. EMV 3DS wants no padding, but not every ACS keeps to it."""
    if len(field) > _MAX_CHARACTERS:
        raise FormFieldError(f"a form field of more than {_MAX_CHARACTERS} characters")
    digits = field.strip().rstrip("=")
    if not _ALPHABET.fullmatch(digits):
        raise FormFieldError("a form field that is not base64url")
    try:
        message: Any = json.loads(base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)).decode())
    except (ValueError, RecursionError):
        raise FormFieldError("a form field that holds no JSON") from None
    if not isinstance(message, dict):
        raise FormFieldError("a form field that holds no JSON object")
    return message


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name, "")
    if not isinstance(value, str):
        raise FormFieldError(f"a CRes whose {name} is no text")
    return value
