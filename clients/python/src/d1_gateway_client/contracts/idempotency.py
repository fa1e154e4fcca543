"""The idempotent rpcs, from the contracts' ``idempotency_level``."""

__all__ = ["IDEMPOTENT"]

IDEMPOTENT = frozenset(
    {
        "/issuer.card.v1.CardService/RegisterCard",
        "/issuer.consumer.v1.ConsumerService/CompleteAuthentication",
        "/issuer.consumer.v1.ConsumerService/RegisterConsumer",
        "/issuer.notification.v1.NotificationService/BackfillNotifications",
        "/issuer.notification.v1.NotificationService/CommitCursor",
        "/issuer.notification.v1.NotificationService/GetSubscription",
        "/issuer.notification.v1.NotificationService/ListSubscriptions",
        "/issuer.notification.v1.NotificationService/ResetSubscription",
        "/issuer.notification.v1.NotificationService/WatchNotifications",
        "/issuer.threeds.v1.AuthenticationService/GetChallengeResult",
        "/issuer.threeds.v1.AuthenticationService/LookupCard",
        "/issuer.threeds.v1.ThreeDSOperationService/GetThreeDSOperation",
        "/issuer.threeds.v1.ThreeDSOperationService/ListThreeDSOperations",
    }
)
"""Their names on the wire. Repeating one of them does no harm, whatever became of the call before."""
