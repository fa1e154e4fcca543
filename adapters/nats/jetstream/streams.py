"""The streams, buckets and subjects that gateways share. The first gateway creates them, the others check them."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError, NatsOpenError, NoResponderError
from adapters.nats.jetstream.jetstream import JetStreamError, api_request
from adapters.nats.jetstream.lineage import Lineage
from gateway.ports import Event, Scope
from gateway.settings import EventLogSettings, NatsSettings

__all__ = ["Names", "check_servers", "explain", "prepare", "text", "token"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_TOKEN_LENGTH: Final = 200
"""A subject has several tokens, and the server limits the line that holds it to 4096 bytes."""

_MIN_SERVER_VERSION: Final = (2, 11)
"""The first version with batched reads and a time to live for each message."""
_FORMAT: Final = "d1-gateway.format"
_FORMAT_VERSION: Final = "1"
_BILLION: Final = 1_000_000_000

_FIXED: Final = (
    "subjects",
    "retention",
    "discard",
    "storage",
    "max_msgs_per_subject",
    "allow_direct",
    "allow_msg_ttl",
    "republish",
)
"""Properties that must be as the gateway creates them."""
_VARIABLE: Final = ("num_replicas", "max_age", "max_bytes", "duplicate_window")
"""Properties that follow the settings."""


def token(text: str) -> str:
    """Encode a text as one token of a subject. Different texts have different tokens."""
    if _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    encoded = "=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return encoded if len(encoded) <= _MAX_TOKEN_LENGTH else "#" + hashlib.sha256(raw).hexdigest()


def text(token: str) -> str:
    """Decode a token of a text that has at most 64 characters, all ASCII."""
    if not token.startswith("="):
        return token
    return base64.urlsafe_b64decode(token[1:] + "=" * (-len(token[1:]) % 4)).decode()


class Names:
    """The names that cooperating gateways share. All begin with the same prefix."""

    def __init__(self, prefix: str) -> None:
        """Derive the names from a prefix, which must be a token."""
        self.prefix = prefix
        self.event_stream = f"{prefix}-events"
        """The stream of the event log."""
        self.events = f"{prefix}.event"
        """The prefix of events' subjects."""
        self.appends = f"{prefix}.append"
        """The subject that announces each stored event."""
        self.key_value_bucket = f"{prefix}-key-value"
        self.subscription_bucket = f"{prefix}-subscriptions"
        self.lease_bucket = f"{prefix}-leases"

    def event(self, event: Event) -> str:
        """Return an event's subject. Only its duplicates and other states of the same operation have the same one."""
        issuer, subject, operation = map(token, (event.issuer_id, event.subject_id, event.operation_id))
        return f"{self.events}.{issuer}.{event.kind}.{subject}.{operation}"

    def scope(self, scope: Scope) -> str:
        """Return the pattern that matches exactly the subjects of a scope."""
        kind = "*" if scope.kind is None else str(scope.kind)
        subject = "*" if scope.subject_id is None else token(scope.subject_id)
        return f"{self.events}.{token(scope.issuer_id)}.{kind}.{subject}.*"


async def check_servers(connection: Connection, max_event_bytes: int) -> None:
    """Check that the servers have the required version, limits and JetStream.

    Raises:
        NatsOpenError: They are unsuitable. The message says what to do.
        NatsError: They do not respond, or return an error; see `explain`.
    """
    if connection.server_version < _MIN_SERVER_VERSION:
        found, needed = (".".join(map(str, each)) for each in (connection.server_version, _MIN_SERVER_VERSION))
        raise NatsOpenError(f"The NATS server has version {found}; version {needed} or newer is required.")
    if connection.max_message_bytes < max_event_bytes:
        raise NatsOpenError(
            f"The NATS server accepts messages of up to {connection.max_message_bytes} bytes; set its max_payload to "
            f"{max_event_bytes} or more."
        )
    await api_request(connection, "INFO")


async def prepare(
    connection: Connection,
    names: Names,
    settings: NatsSettings,
    retention: EventLogSettings | None = None,
    *,
    creates: bool = True,
) -> Lineage:
    """Create missing streams and buckets, and adapt existing ones to the settings.

    Args:
        connection: A connection to servers that `check_servers` accepts.
        names: The names to use.
        settings: The number of replicas.
        retention: Retention of events by age and size; None keeps them for ever.
        creates: Whether there may be no event log yet.

    Returns:
        The lineage of the event log.

    Raises:
        NatsOpenError: Something else uses these names, or there is no event log. The message says what to do.
        NatsError: The servers do not respond, or return an error; see `explain`.
    """
    if not creates and await _find(connection, names.event_stream) is None:
        raise NatsOpenError(f"There is no event log at NATS under the prefix {names.prefix}.")
    config = await _prepare(connection, _event_log(names, settings, retention))
    for bucket in (names.key_value_bucket, names.subscription_bucket, names.lease_bucket):
        await _prepare(connection, _bucket(bucket, settings))
    return Lineage.of(config)


def explain(error: NatsError, settings: NatsSettings) -> str:
    """Return what to do about a lasting error."""
    if isinstance(error, NoResponderError):
        return "The NATS servers have no JetStream; enable it in their configuration."
    number = error.number if isinstance(error, JetStreamError) else 0
    if number in JetStreamError.NOT_ENABLED:
        return "JetStream is not enabled for the gateway's NATS account; enable it there."
    if number in JetStreamError.TOO_FEW_SERVERS:
        return (
            f"There are too few NATS servers with JetStream, or too little space, for {settings.replicas} replicas: "
            "add servers, or set nats.replicas to 1."
        )
    return str(error)


def _event_log(names: Names, settings: NatsSettings, retention: EventLogSettings | None) -> dict[str, Any]:
    max_age = 0 if retention is None else round(retention.retention_seconds * _BILLION)
    return {
        "name": names.event_stream,
        "description": "The event log of d1-gateway.",
        "subjects": [f"{names.events}.*.*.*.*"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_age": max_age,
        "max_bytes": -1 if retention is None else retention.retention_bytes,
        # Not used, but not below zero or above max_age: an event is compared with those of its subject.
        "duplicate_window": min(max_age or _BILLION, _BILLION),
        "allow_direct": True,
        # Readers attribute a gap to retention, so no message may be deleted from the middle.
        "deny_delete": True,
        "republish": {"src": f"{names.events}.*.*.*.*", "dest": names.appends, "headers_only": True},
        "metadata": Lineage.new().metadata() | {_FORMAT: _FORMAT_VERSION},
    }


def _bucket(name: str, settings: NatsSettings) -> dict[str, Any]:
    # The form of other clients' buckets, so that ``nats kv`` can show them.
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_msgs_per_subject": 1,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_msg_ttl": True,
        "metadata": {_FORMAT: _FORMAT_VERSION},
    }


async def _prepare(connection: Connection, wanted: dict[str, Any]) -> Mapping[str, Any]:
    name = wanted["name"]
    config = await _find(connection, name) or await _create(connection, wanted)
    _check(config, wanted)
    variable = {key: wanted[key] for key in _VARIABLE if key in wanted}
    if any(config.get(key) != value for key, value in variable.items()):
        config = (await api_request(connection, f"STREAM.UPDATE.{name}", dict(config) | variable))["config"]
    return config


async def _find(connection: Connection, name: str) -> Mapping[str, Any] | None:
    try:
        config: Mapping[str, Any] = (await api_request(connection, f"STREAM.INFO.{name}"))["config"]
    except JetStreamError as error:
        if error.number in JetStreamError.NOT_FOUND:
            return None
        raise
    return config


async def _create(connection: Connection, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    name = wanted["name"]
    try:
        config: Mapping[str, Any] = (await api_request(connection, f"STREAM.CREATE.{name}", wanted))["config"]
    except JetStreamError as error:
        # Another gateway that is starting may have created it first.
        found = await _find(connection, name) if error.number == JetStreamError.NAME_IN_USE else None
        if found is None:
            raise
        return found
    return config


def _check(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    name = wanted["name"]
    advice = "Set nats.prefix to another name, or remove the stream if its content is not needed."
    format_version = config.get("metadata", {}).get(_FORMAT)
    if format_version is None:
        raise NatsOpenError(f"No gateway created the stream {name}. {advice}")
    if format_version != _FORMAT_VERSION:
        raise NatsOpenError(
            f"A newer version created the stream {name} (format {format_version}, supported: {_FORMAT_VERSION})."
        )
    different = [key for key in _FIXED if key in wanted and config.get(key) != wanted[key]]
    if different:
        raise NatsOpenError(f"The stream {name} was changed: {', '.join(different)}. {advice}")
