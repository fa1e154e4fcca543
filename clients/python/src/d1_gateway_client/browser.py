"""Reads the form fields that a cardholder's browser brings back after a challenge and after the 3DS Method.

They came through the browser, so they prove nothing: find the transaction among those that wait for a result, and take
the result from ``GetChallengeResult``.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

__all__ = ["CRes", "FormFieldError", "MethodCompletion", "parse_cres", "parse_method_completion"]

T = TypeVar("T")

_MAX_CHARACTERS = 100_000
"""More than any browser message needs, extensions included."""
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")


class FormFieldError(ValueError):
    """A form field with unexpected content. The text never quotes it."""


@dataclass(frozen=True, slots=True)
class CRes:
    """A final challenge response (EMV 3DS: CRes). A text is empty if absent."""

    three_ds_server_trans_id: str
    acs_trans_id: str
    message_version: str
    trans_status: str
    """The code as received."""
    challenge_completion_ind: str = ""
    """``Y`` or ``N``, as received; of the app channel, but some ACSs send it to browsers as well."""
    acs_counter_a_to_s: str = ""
    """The ACS's count of its messages to the SDK; of the app channel."""
    sdk_trans_id: str = ""
    """Of the app channel."""
    message_extension: tuple[Any, ...] = field(default=(), hash=False, repr=False)
    """Data beyond the specification: the items as received."""
    unrecognized: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """What came beyond the fields above, unchanged and under its EMV name: unknown fields, and values of another JSON
    type than specified."""


@dataclass(frozen=True, slots=True)
class MethodCompletion:
    """The ACS's notice that the 3DS Method is done (EMV 3DS: 3DS Method handling)."""

    three_ds_server_trans_id: str
    """In lower case."""
    unrecognized: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """What came beyond the transaction id, unchanged."""


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
    del message["messageType"]
    parsed = CRes(
        three_ds_server_trans_id=_text(message, "threeDSServerTransID"),
        acs_trans_id=_text(message, "acsTransID"),
        message_version=_text(message, "messageVersion"),
        trans_status=_text(message, "transStatus"),
        challenge_completion_ind=_if(str, message, "challengeCompletionInd") or "",
        acs_counter_a_to_s=_if(str, message, "acsCounterAtoS") or "",
        sdk_trans_id=_if(str, message, "sdkTransID") or "",
        message_extension=tuple(_if(list, message, "messageExtension") or ()),
        unrecognized=message,
    )
    if not parsed.three_ds_server_trans_id:
        raise FormFieldError("the CRes has no transaction id")
    return parsed


def parse_method_completion(three_ds_method_data: str) -> MethodCompletion:
    """Read what the browser posts to the ``three_ds_method_notification_url`` when the 3DS Method is done.

    Args:
        three_ds_method_data: The form field ``threeDSMethodData``.

    Raises:
        FormFieldError: The field contains no completion.
    """
    message = _decode(three_ds_method_data)
    try:
        transaction = str(UUID(message.pop("threeDSServerTransID", None)))
    except (AttributeError, TypeError, ValueError):
        raise FormFieldError("the 3DS Method completion has no transaction id") from None
    return MethodCompletion(transaction, message)


def _decode(form_field: str) -> dict[str, Any]:
    """Read a JSON object from base64url. EMV 3DS forbids padding, but not every ACS complies."""
    if len(form_field) > _MAX_CHARACTERS:
        raise FormFieldError(f"the form field has more than {_MAX_CHARACTERS} characters")
    digits = form_field.strip().rstrip("=")
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
    """Take a text out of a message; null counts as absent."""
    value = message.pop(name, None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormFieldError(f"the CRes's {name} is not text")
    return value


def _if(kind: type[T], message: dict[str, Any], name: str) -> T | None:
    """Take a value out of a message; null counts as absent, and a value of another JSON type stays."""
    value = message.get(name)
    if value is not None and not isinstance(value, kind):
        return None
    message.pop(name, None)
    return value
