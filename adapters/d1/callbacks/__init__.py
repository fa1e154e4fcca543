"""D1's callbacks: paths, JSON, and translation to the messages of the contracts."""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.card_credentials import CardCredentialsCallback
from adapters.d1.callbacks.consumers import ConsumerCallbacks
from adapters.d1.callbacks.dispatcher import CallbackDispatcher
from adapters.d1.callbacks.notifications import Notifications
from adapters.d1.callbacks.step_up import StepUpCallbacks
from gateway.edge.auth_tokens import Token
from gateway.edge.platform import PlatformCallbacks
from gateway.ports import Appendable, AuthenticationResultStore, CallbackBus, CardDataEncryption, MissedNotifications
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
    missed: MissedNotifications | None = None,
    additional_banking_paths: Sequence[str] = (),
) -> PlatformCallbacks:
    """Assemble all callbacks of D1 for the configured issuers.

    Args:
        issuers: The issuers that are served.
        log: Takes the notifications.
        bus: Sends callback requests to handlers.
        results: The final results of authentications.
        encryption: Encrypts card data for D1.
        settings: Deadlines and fallbacks.
        meter: Counts fields that do not fit.
        missed: Takes the cards of notifications that were refused or not understood; None if nobody does.
        additional_banking_paths: Where the callbacks about consumers are served too: other paths than
            `schema.BANKING`, each once.
    """
    dispatcher = CallbackDispatcher(bus)
    poll = settings.authentication_result
    groups = (
        Notifications(issuers, log, meter, missed),
        ConsumerCallbacks(
            issuers, dispatcher, meter, information=settings.consumer_information, otp=settings.deliver_otp
        ),
        StepUpCallbacks(
            issuers,
            dispatcher,
            results,
            meter,
            authenticate=settings.authenticate,
            result=CallbackPolicySettings(
                deadline_seconds=poll.deadline_seconds,
                fallback_status=poll.fallback_status or 500,
                fallback_error=poll.fallback_error,
                max_attempts=poll.max_attempts,
                max_attempts_if_slow=poll.max_attempts_if_slow,
            ),
            wait_seconds=poll.wait_seconds,
            pending_without_reply=poll.fallback_status is None,
        ),
        CardCredentialsCallback(issuers, dispatcher, encryption, settings.card_credentials),
    )
    routes = [route for group in groups for route in group.routes()]
    return PlatformCallbacks(
        routes=routes + [route for path in additional_banking_paths for route in _below(path, routes)],
        quiet_routes=QUIET_ROUTES | {_moved(d1.CONSUMER_NOTIFICATION_PATH, path) for path in additional_banking_paths},
        token_path=d1.TOKEN_PATH,
        token_body=token_body,
    )


def _below(path: str, routes: Sequence[web.RouteDef]) -> list[web.RouteDef]:
    """Return the callbacks about consumers as routes below another path."""
    return [
        web.RouteDef(route.method, _moved(route.path, path), route.handler, route.kwargs)
        for route in routes
        if route.path.startswith(f"{d1.BANKING}/")
    ]


def _moved(route: str, path: str) -> str:
    return path + route.removeprefix(d1.BANKING)


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
