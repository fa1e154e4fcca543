"""The issuers that D1 knows, and what speaks for each: client certificates and tokens."""

from dataclasses import dataclass

__all__ = ["Issuers"]


@dataclass(frozen=True, slots=True)
class _Issuer:
    common_name: str | None
    token_subject: str


class Issuers:
    """The known issuers and aggregators. They share cards, consumers and assertion keys."""

    def __init__(self, issuer_id: str) -> None:
        """Know one issuer, which may present any client certificate that D1 trusts."""
        self._issuers: dict[str, _Issuer] = {}
        self._aggregators: dict[str, str | None] = {}
        self.put(issuer_id)

    def put(self, issuer_id: str, *, common_name: str | None = None, aggregator_id: str = "") -> None:
        """Add or change an issuer.

        Args:
            issuer_id: Its id.
            common_name: Common name of its client certificate; None to accept any.
            aggregator_id: The aggregator that gets its tokens; empty if it gets its own.
        """
        self._issuers[issuer_id] = _Issuer(common_name, aggregator_id or issuer_id)

    def put_aggregator(self, aggregator_id: str, *, common_name: str | None = None) -> None:
        """Add or change an aggregator, see `put`."""
        self._aggregators[aggregator_id] = common_name

    def __contains__(self, issuer_id: object) -> bool:
        return issuer_id in self._issuers

    def takes_certificate(self, subject: str, common_name: str) -> bool:
        """Return whether a client certificate speaks for a known issuer or aggregator."""
        if subject in self._aggregators:
            return self._aggregators[subject] in {None, common_name}
        return self._issuers[subject].common_name in {None, common_name}

    def takes_token(self, issuer_id: str, subject: str) -> bool:
        """Return whether a token that was issued to a subject speaks for a known issuer."""
        return self._issuers[issuer_id].token_subject == subject

    def may_get_token(self, subject: str) -> bool:
        """Return whether a subject gets tokens: an aggregator, or an issuer without one."""
        return subject in self._aggregators or (
            subject in self._issuers and self._issuers[subject].token_subject == subject
        )
