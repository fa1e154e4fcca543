"""Why NATS did not do what was asked of it."""

__all__ = ["DisconnectedError", "NatsError", "NatsOpenError", "NoResponderError", "RequestTimeoutError"]


class NatsError(Exception):
    """What was asked was not done, or it is not known whether it was. The message says why, for people."""


class DisconnectedError(NatsError):
    """There is no connection, or it was lost before the answer came."""


class RequestTimeoutError(NatsError):
    """No answer came in time; what was asked may be done all the same."""


class NoResponderError(NatsError):
    """Nobody listens at the subject; nothing was done."""


class NatsOpenError(Exception):
    """NATS cannot be used as it is. The message says what to do about it."""
