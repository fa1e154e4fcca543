"""The one way in which what a caller shows is refused."""

__all__ = ["Unidentified"]


class Unidentified(Exception):  # noqa: N818 (a finding about the caller, not a fault)
    """A caller has not shown who it is.

    The text is for the operators' log, not for the caller. It never holds any part of what was shown.
    """
