"""The form fields that carry 3-D Secure messages through a browser (EMV 3DS: CReq, 3DS Method data)."""

import base64
from collections.abc import Mapping

import orjson

__all__ = ["encode"]


def encode(message: Mapping[str, str]) -> str:
    """Encode a JSON object as base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(orjson.dumps(message)).decode().rstrip("=")
