"""The errors for invalid credentials."""

__all__ = ["InvalidCertificate", "InvalidToken", "Unidentified"]


class Unidentified(Exception):  # noqa: N818 (a finding about the caller, not a fault)
    """A caller has not presented valid credentials.

    The text is for the operators' log, and `advice` for the caller. Neither contains any part of the credentials, and
    `advice` nothing that helps to forge some.
    """

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.advice = advice


class InvalidCertificate(Unidentified):
    """The client certificate identifies nobody."""

    def __init__(
        self, why: str, advice: str = "The client certificate cannot be used: the gateway's operators see why."
    ) -> None:
        super().__init__(f"certificate: {why}", advice)


class InvalidToken(Unidentified):
    """The bearer token is not accepted. A client certificate beside it does not count then."""

    def __init__(
        self,
        why: str,
        advice: str = "The bearer token is not accepted: send a signed JWT of the issuer, and for the audience, that "
        "this gateway is configured for.",
    ) -> None:
        super().__init__(f"token: {why}", advice)
