"""Callbacks: deadlines, and the replies to D1 when no handler answers."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from gateway.settings.types import Seconds, Table

__all__ = ["CallbackPolicySettings", "CallbackReadSettings", "CallbackSettings", "ResultPollSettings"]

_Deadline = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]
_Wait = Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)]

_STATUSES: Final = (400, 403, 404, 500)


def _documented(status: int) -> int:
    if status not in _STATUSES:
        raise ValueError(f"must be one of {', '.join(map(str, _STATUSES))}: D1 documents no other")
    return status


_ErrorStatus = Annotated[int, AfterValidator(_documented), WithJsonSchema({"type": "integer", "enum": [*_STATUSES]})]
_MaxAttempts = Annotated[int, Field(ge=1, le=10)]
_ErrorText = Annotated[str, StringConstraints(max_length=256)]


class CallbackPolicySettings(Table):
    """Deadline and fallback of one kind of callback."""

    deadline_seconds: _Deadline = 2.0
    """Time for handlers, all attempts together. D1 applies a timeout that it does not disclose."""
    fallback_status: _ErrorStatus = 500
    """HTTP status for D1 if no handler replies in time."""
    fallback_error: _ErrorText = "no answer in time"
    """Error text for D1 with the fallback status; 403 has none."""
    max_attempts: _MaxAttempts = 3
    """Handlers that may get one callback request, for whatever reason; then D1 gets the fallback. So a request at which
    handlers crash does not go to all of them."""
    max_attempts_if_slow: _MaxAttempts = 1
    """Of these, handlers that may get it because those before are slow. Each may do the work, and a consumer get an OTP
    from each. 1: another handler gets it only if the first one disconnects."""


class CallbackReadSettings(CallbackPolicySettings):
    """Deadline and fallback of one kind of callback that changes nothing."""

    max_attempts_if_slow: _MaxAttempts = 2
    """Of `max_attempts`, handlers that may get one callback request because those before are slow. 1: another handler
    gets it only if the first one disconnects."""


class ResultPollSettings(Table):
    """D1's requests for the result of an authentication: polls, or one in the end."""

    wait_seconds: _Wait = 1.5
    """Time to hold a request until there is a final result, from its arrival; a drain ends it. Stay below D1's timeout,
    which D1 does not disclose. Each request that is held takes one of `edge.max_connections`. 0: no waiting."""
    deadline_seconds: _Deadline = 2.0
    """Time for handlers, all attempts together, from the same moment."""
    fallback_status: _ErrorStatus | None = None
    """HTTP status for D1 if no handler replies in time, and no result is reported. Unset: D1 gets the result
    "pending"."""
    fallback_error: _ErrorText = "no answer in time"
    """Error text for D1 with the fallback status; 403 has none."""
    max_attempts: _MaxAttempts = 3
    """Handlers that may get one callback request, for whatever reason. Then D1 is answered as if none replied."""
    max_attempts_if_slow: _MaxAttempts = 2
    """Of these, handlers that may get it because those before are slow. 1: another handler gets it only if the first
    one disconnects."""


class CallbackSettings(Table):
    """D1's callbacks that handlers answer."""

    consumer_information: CallbackReadSettings = CallbackReadSettings()
    """Requests for a consumer's information."""
    deliver_otp: CallbackPolicySettings = CallbackPolicySettings()
    """Requests to deliver a one-time password."""
    authenticate: CallbackPolicySettings = CallbackPolicySettings()
    """Requests to authenticate a consumer in the issuer's app."""
    authentication_result: ResultPollSettings = ResultPollSettings()
    """Requests for the result of an authentication."""
    card_credentials: CallbackReadSettings = CallbackReadSettings()
    """Requests for a card's credentials."""
    authentication_result_ttl_seconds: Seconds = 900.0
    """Time to keep an authentication's result for D1's polls, from its first report."""

    @model_validator(mode="after")
    def _slowness_makes_no_more_attempts_than_there_are(self) -> "CallbackSettings":
        for kind, policy in self:
            if (
                isinstance(policy, CallbackPolicySettings | ResultPollSettings)
                and policy.max_attempts_if_slow > policy.max_attempts
            ):
                raise ValueError(
                    f"{kind}: max_attempts_if_slow must not exceed max_attempts: "
                    f"they are {policy.max_attempts_if_slow} and {policy.max_attempts}"
                )
        return self
