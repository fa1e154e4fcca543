"""How step-up authentications ended: what is told first stands, whoever tells it and however often D1 asks."""

from gateway.ports import KeyValueStore
from issuer.consumer.v1.authentication_pb2 import AuthenticationResult

__all__ = ["AuthenticationResults"]


class AuthenticationResults:
    """The final results, on disk for as long as D1 may ask for them."""

    def __init__(self, store: KeyValueStore, ttl_seconds: float) -> None:
        """Keep results in a store.

        Args:
            store: Where they are kept.
            ttl_seconds: For how long, from when each was told first.
        """
        self._store = store
        self._ttl_seconds = ttl_seconds

    async def settle(self, issuer_id: str, result: AuthenticationResult) -> AuthenticationResult:
        """Tell a final result, which stands unless another one was told before.

        Args:
            issuer_id: Whose authentication it is.
            result: Its id and how it ended: SUCCESSFUL or FAILED.

        Returns:
            The result that stands: the given one, or the earlier one.

        Raises:
            GatewayError: STORE_UNAVAILABLE.
        """
        key = _key(issuer_id, result.authentication_id)
        standing = await self._store.put_if_absent(key, result.SerializeToString(), self._ttl_seconds)
        return result if standing is None else AuthenticationResult.FromString(standing)

    async def find(self, issuer_id: str, authentication_id: str) -> AuthenticationResult | None:
        """Find the result of an authentication; None while it has no final one, or no more.

        Raises:
            GatewayError: STORE_UNAVAILABLE.
        """
        standing = await self._store.get(_key(issuer_id, authentication_id))
        return None if standing is None else AuthenticationResult.FromString(standing)


def _key(issuer_id: str, authentication_id: str) -> str:
    return f"authentication-result/{issuer_id}/{authentication_id}"
