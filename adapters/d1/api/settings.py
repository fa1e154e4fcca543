"""What has to be said about D1 to talk with it."""

from dataclasses import dataclass

from adapters.http.settings import HttpSettings

__all__ = ["D1Settings"]

_LONGEST_ASSERTION_SECONDS = 900


@dataclass(frozen=True, slots=True)
class D1Settings(HttpSettings):
    """Where D1 is, production or pre-production, and what the calls to it may cost.

    Raises:
        ValueError: A value makes no sense, or the base URL is neither HTTPS nor on loopback.
    """

    assertion_audience: str | None = None
    """The ``aud`` of the assertions, which D1 does not ask for; None leaves it out."""
    assertion_life_seconds: int = 300
    """For how long an assertion is good. D1 takes at most 900."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        HttpSettings.__post_init__(self)
        if not 1 <= self.assertion_life_seconds <= _LONGEST_ASSERTION_SECONDS:
            raise ValueError(f"assertion_life_seconds has to be 1 to {_LONGEST_ASSERTION_SECONDS}.")
