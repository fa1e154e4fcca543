"""Page tokens: where a list continues. A token is good for the list that issued it, and for no other."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from gateway.errors import ErrorOutcome, FieldViolation, GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["PageTokens"]

_VERSION = b"\x01"
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class PageTokens:
    """The page tokens of one list."""

    rpc: str
    """The list's rpc, for example ``ListSubscriptions``."""
    scope: tuple[str, ...]
    """What must stay the same from page to page: the caller, the issuer, then the other fields that choose the list."""

    def encode(self, place: bytes) -> str:
        """Return a page token: the base64url of its version, a digest and the place where the list continues.

        The digest ties it to the list, and detects damage. It need not be a signature: a token gives access to nothing
        that its caller could not list without it.
        """
        scope = "".join(f"{part}\0" for part in (self.rpc, *self.scope)).encode()
        digest = hashlib.sha256(_VERSION + scope + place).digest()[:_DIGEST_BYTES]
        return urlsafe_b64encode(_VERSION + digest + place).rstrip(b"=").decode()

    def decode(self, token: str) -> bytes:
        """Return the place of a page token.

        Raises:
            GatewayError: PAGE_TOKEN_INVALID if the token is not one of this list.
        """
        try:
            place = urlsafe_b64decode(token + "=" * (-len(token) % 4))[len(_VERSION) + _DIGEST_BYTES :]
        except ValueError:
            place = b""
        if self.encode(place) != token:
            raise self.invalid(
                "This page token was issued for another request or caller, or is damaged: send the next_page_token of "
                "the page before, unchanged, or none to start again.",
                error_pb2.ERROR_OUTCOME_NOT_SENT,
            )
        return place

    def invalid(self, message: str, outcome: ErrorOutcome) -> GatewayError:
        """Return the error PAGE_TOKEN_INVALID with a message."""
        must = f"must come from {self.rpc} for the same request"
        return GatewayError(
            error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID,
            message,
            outcome=outcome,
            violations=[FieldViolation("page_token", must, "page_token.known")],
        )
