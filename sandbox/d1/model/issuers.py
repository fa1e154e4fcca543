"""The issuers that D1 knows, and what speaks for each: client certificates and tokens."""

from dataclasses import dataclass

__all__ = ["Issuers"]


@dataclass(frozen=True, slots=True)
class _Issuer:
    common_name: str | None


class Issuers:
    """The known issuers. They share cards, consumers and assertion keys."""

    def __init__(self, issuer_id: str) -> None:
        """Know one issuer, which may present any client certificate that D1 trusts."""
        self._issuers = {issuer_id: _Issuer(None)}

    def put(self, issuer_id: str, *, common_name: str | None = None) -> None:
        """Add or change an issuer.

        Args:
            issuer_id: Its id.
            common_name: Common name of its client certificate; None to accept any.
        """
        self._issuers[issuer_id] = _Issuer(common_name)

    def __contains__(self, issuer_id: object) -> bool:
        return issuer_id in self._issuers

    def takes_certificate(self, issuer_id: str, common_name: str) -> bool:
        """Return whether a client certificate speaks for a known issuer."""
        return self._issuers[issuer_id].common_name in {None, common_name}
