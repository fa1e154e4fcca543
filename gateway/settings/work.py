"""What the gateway does with what it is asked and told: deadlines, fallbacks, how long things are kept."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gateway.settings.types import PrivateFile, Seconds, Table

__all__ = [
    "CallbackSettings",
    "EventLogSettings",
    "IdempotencySettings",
    "LogSettings",
    "QuestionSettings",
    "ResultPollSettings",
]


class QuestionSettings(Table):
    """One kind of question that D1 asks."""

    deadline_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """How long handlers have, all together. D1 gives up by itself after a time that it does not tell."""
    fallback_status: Annotated[int, Field(ge=400, le=599)] = 500
    """The HTTP status for D1 if no handler answers in time."""
    fallback_error: Annotated[str, StringConstraints(max_length=256)] = "no answer in time"
    """The text that goes with it."""


class ResultPollSettings(Table):
    """D1's polls for the result of an authentication."""

    deadline_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """How long handlers have, all together."""
    fallback_status: Annotated[int, Field(ge=400, le=599)] | None = None
    """The HTTP status for D1 if no handler answers in time. None: the poll is answered that the result is pending."""
    fallback_error: Annotated[str, StringConstraints(max_length=256)] = "no answer in time"
    """The text that goes with a status."""


class CallbackSettings(Table):
    """What D1 asks, and handlers answer."""

    consumer_information: QuestionSettings = QuestionSettings()
    """Who a consumer is."""
    deliver_otp: QuestionSettings = QuestionSettings()
    """To send a one-time password."""
    authenticate: QuestionSettings = QuestionSettings()
    """To authenticate a consumer in the issuer's app."""
    authentication_result: ResultPollSettings = ResultPollSettings()
    """How such an authentication ended."""
    card_credentials: QuestionSettings = QuestionSettings()
    """What stands on a card."""
    authentication_result_ttl_seconds: Seconds = 900.0
    """How long the result of an authentication is kept for D1's polls, from when it was told first."""


class EventLogSettings(Table):
    """Where notifications are kept."""

    path: Path = Path("d1-gateway.db")
    """The SQLite file; made if there is none. Its folder must be on a local disk, and it must have no hard links."""
    retention_seconds: Seconds = 30 * 86_400.0
    """How long a notification is kept."""
    retention_bytes: Annotated[int, Field(ge=1_048_576)] = 10 * 1_073_741_824
    """How much the notifications may take before the oldest of them go; stored replies and results are not counted."""


class IdempotencySettings(Table):
    """Repeated calls, and the first replies that they get."""

    key_file: PrivateFile | None = None
    """The key under which first replies are kept: 64 lower-case hexadecimal digits, the same for all instances that
    share a store. None: a file beside the event log, its name with `.key` behind it, made at the first start."""


class LogSettings(Table):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is written."""
