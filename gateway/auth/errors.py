"""The error for invalid credentials."""

__all__ = ["Unidentified"]


class Unidentified(Exception):  # noqa: N818 (a finding about the caller, not a fault)
    """A caller has not presented valid credentials.

    The text is for the operators' log, not for the caller. It never contains any part of the credentials.
    """
