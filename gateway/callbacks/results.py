"""Results of step-up authentications. The first result is final, from any reporter, for every reader."""

from struct import Struct
from typing import Final
from zlib import crc32

from gateway.errors import GatewayError
from gateway.ports import KeyValueStore
from issuer.common.v1 import error_pb2
from issuer.consumer.v1.authentication_pb2 import AuthenticationResult

__all__ = ["AuthenticationResults"]

_CHECKSUM: Final = Struct("!I")
"""Before each stored result, over its key and its bytes: a single bit on a disk makes a denial an approval."""


class AuthenticationResults:
    """The final results, stored for as long as the platform may ask for them."""

    def __init__(self, store: KeyValueStore, ttl_seconds: float) -> None:
        """Keep each result in a store for a number of seconds."""
        self._store = store
        self._ttl_seconds = ttl_seconds

    async def settle(self, issuer_id: str, consumer_id: str, result: AuthenticationResult) -> AuthenticationResult:
        """Store a final result unless there is an earlier one.

        Args:
            issuer_id: The issuer of the authentication.
            consumer_id: The consumer who was, or was not, authenticated.
            result: The authentication's id and its final status: SUCCESSFUL or FAILED.

        Returns:
            The final result: the given one, or the earlier one.

        Raises:
            GatewayError: STORE_UNAVAILABLE, also if an earlier result is damaged.
        """
        key = _key(issuer_id, consumer_id, result.authentication_id)
        earlier = await self._store.put_if_absent(key, _encode(key, result), self._ttl_seconds)
        return result if earlier is None else _decode(key, earlier)

    async def find(
        self, issuer_id: str, consumer_id: str, authentication_id: str, *, wait_seconds: float = 0.0
    ) -> AuthenticationResult | None:
        """Return the final result of an authentication as soon as there is one, at whichever gateway it is reported.

        Returns:
            The final result; None if there is none after these seconds, or if it has expired.

        Raises:
            GatewayError: STORE_UNAVAILABLE, also if the result is damaged.
        """
        key = _key(issuer_id, consumer_id, authentication_id)
        stored = await (self._store.wait(key, wait_seconds) if wait_seconds else self._store.get(key))
        return None if stored is None else _decode(key, stored)


def _key(issuer_id: str, consumer_id: str, authentication_id: str) -> str:
    # No id contains a slash, so no two authentications share a key.
    return f"authentication-result/{issuer_id}/{consumer_id}/{authentication_id}"


def _encode(key: str, result: AuthenticationResult) -> bytes:
    content = result.SerializeToString()
    return _CHECKSUM.pack(_checksum(key, content)) + content


def _decode(key: str, stored: bytes) -> AuthenticationResult:
    content = stored[_CHECKSUM.size :]
    if stored[: _CHECKSUM.size] != _CHECKSUM.pack(_checksum(key, content)):
        raise GatewayError(
            error_pb2.ERROR_REASON_STORE_UNAVAILABLE,
            "The stored result of this authentication is damaged. It stays until it expires: have the consumer "
            "authenticate again.",
        )
    return AuthenticationResult.FromString(content)


def _checksum(key: str, content: bytes) -> int:
    return crc32(content, crc32(key.encode()))
