"""D1's callbacks: paths, JSON, and translation to the messages of the contracts."""

from collections.abc import Container, Mapping
from datetime import UTC, datetime

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.card_credentials import CardCredentialsCallback
from adapters.d1.callbacks.consumers import ConsumerCallbacks
from adapters.d1.callbacks.dispatcher import CallbackDispatcher
from adapters.d1.callbacks.notifications import Notifications
from adapters.d1.callbacks.step_up import StepUpCallbacks
from gateway.edge.auth_tokens import Token
from gateway.edge.platform import PlatformCallbacks
from gateway.ports import Appendable, AuthenticationResultStore, CallbackBus, CardDataEncryption
from gateway.ports.meter import UpstreamMeter
from gateway.settings import CallbackPolicySettings, CallbackSettings

__all__ = ["QUIET_ROUTES", "d1_callbacks", "token_body"]

# The event log has every notification with its correlation id.
QUIET_ROUTES = frozenset({d1.THREE_DS_NOTIFICATION_PATH, d1.CONSUMER_NOTIFICATION_PATH, d1.TOKEN_PATH})


def d1_callbacks(
    issuers: Container[str],
    *,
    log: Appendable,
    bus: CallbackBus,
    results: AuthenticationResultStore,
    encryption: CardDataEncryption,
    settings: CallbackSettings,
    meter: UpstreamMeter,
) -> PlatformCallbacks:
    """Assemble all callbacks of D1 for the configured issuers."""
    dispatcher = CallbackDispatcher(bus)
    poll = settings.authentication_result
    groups = (
        Notifications(issuers, log, meter),
        ConsumerCallbacks(issuers, dispatcher, information=settings.consumer_information, otp=settings.deliver_otp),
        StepUpCallbacks(
            issuers,
            dispatcher,
            results,
            authenticate=settings.authenticate,
            result=CallbackPolicySettings(
                deadline_seconds=poll.deadline_seconds,
                fallback_status=poll.fallback_status or 500,
                fallback_error=poll.fallback_error,
                max_handlers=poll.max_handlers,
            ),
            wait_seconds=poll.wait_seconds,
            pending_without_reply=poll.fallback_status is None,
        ),
        CardCredentialsCallback(issuers, dispatcher, encryption, settings.card_credentials),
    )
    return PlatformCallbacks(
        routes=[route for group in groups for route in group.routes()],
        quiet_routes=QUIET_ROUTES,
        token_path=d1.TOKEN_PATH,
        token_body=token_body,
    )


def token_body(token: Token, scope: str) -> Mapping[str, str | int]:
    """Return the response body of the token endpoint (D1 API: outbound OAuth 2.0)."""
    expires_at = datetime.fromtimestamp(token.expires_at, UTC)
    body = {
        "access_token": token.value,
        "token_type": "Bearer",
        # Text, unlike at D1's own token endpoint.
        "expires_in": str(token.lifetime_seconds),
        "expires_at": expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return body | ({"scope": scope} if scope else {})
