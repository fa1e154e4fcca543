"""The streams and buckets that the gateways share: made by the first, checked by the others."""

from collections.abc import Mapping
from typing import Any, Final

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError, NatsOpenError, NoResponderError
from adapters.nats.connection.subjects import Names
from adapters.nats.jetstream.jetstream import JetStreamError, ask
from adapters.nats.jetstream.lineage import Lineage
from gateway.settings import EventLogSettings, NatsSettings

__all__ = ["expect_capable", "explain", "prepare"]

_OLDEST_SERVER: Final = (2, 11)
"""The first one that reads in batches, and that forgets single messages in time."""
_FORMAT: Final = "d1-gateway.format"
_FORMAT_VERSION: Final = "1"
_BILLION: Final = 1_000_000_000


async def expect_capable(connection: Connection, max_event_bytes: int) -> None:
    """Make sure that the servers can do what is asked of them.

    Raises:
        NatsOpenError: They cannot. The message says what to do.
        NatsError: They do not answer, or refuse: `explain` tells more.
    """
    if connection.server_version < _OLDEST_SERVER:
        found, needed = (".".join(map(str, each)) for each in (connection.server_version, _OLDEST_SERVER))
        raise NatsOpenError(f"The NATS server is of version {found}: version {needed} or newer is needed.")
    if connection.largest_message < max_event_bytes:
        raise NatsOpenError(
            f"The NATS server takes messages of {connection.largest_message} bytes: set its max_payload to "
            f"{max_event_bytes} or more."
        )
    await ask(connection, "INFO")


async def prepare(
    connection: Connection, names: Names, settings: NatsSettings, retention: EventLogSettings | None = None
) -> Lineage:
    """Make what is not there yet, and have what is there keep things as the settings say.

    Args:
        connection: To servers that `expect_capable` has accepted.
        names: Of what is made.
        settings: How many servers keep each thing.
        retention: How long events are kept; None for ever.

    Returns:
        The identity of the event log.

    Raises:
        NatsOpenError: Something else has these names. The message says what to do.
        NatsError: They do not answer, or refuse: `explain` tells more.
    """
    config = await _prepare(connection, _event_log(names, settings, retention))
    for bucket in (names.entry_bucket, names.subscription_bucket, names.lease_bucket):
        await _prepare(connection, _bucket(bucket, settings))
    return Lineage.of(config)


def explain(error: NatsError, settings: NatsSettings) -> str:
    """Tell what to do about an error that does not go away."""
    if isinstance(error, NoResponderError):
        return "The NATS servers have no JetStream: enable it in their settings."
    number = error.number if isinstance(error, JetStreamError) else 0
    if number in JetStreamError.NOT_ENABLED:
        return "JetStream is not enabled for our account at NATS: enable it there."
    if number in JetStreamError.TOO_FEW_SERVERS:
        return (
            f"The NATS servers with JetStream are too few, or too full, for {settings.replicas} copies of each thing: "
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
        # Of no use here: a duplicate is what has the subject of an event that is there.
        "duplicate_window": min(max_age or _BILLION, _BILLION),
        "allow_direct": True,
        # Nobody may take one out of the middle: who reads takes a gap for the work of retention.
        "deny_delete": True,
        "republish": {"src": f"{names.events}.*.*.*.*", "dest": names.growth, "headers_only": True},
        "metadata": Lineage.new().metadata() | {_FORMAT: _FORMAT_VERSION},
    }


def _bucket(name: str, settings: NatsSettings) -> dict[str, Any]:
    # As other clients make and know buckets: ``nats kv`` shows them.
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
"""What cannot be another way in a stream of ours."""
_VARIABLE: Final = ("num_replicas", "max_age", "max_bytes", "duplicate_window")
"""What follows the settings."""


async def _prepare(connection: Connection, wanted: dict[str, Any]) -> Mapping[str, Any]:
    """Make or check a stream; returns its configuration."""
    name = wanted["name"]
    found = await _find(connection, name) or await _make(connection, wanted)
    _check(found, wanted)
    variable = {key: wanted[key] for key in _VARIABLE if key in wanted}
    if any(found.get(key) != value for key, value in variable.items()):
        found = (await ask(connection, f"STREAM.UPDATE.{name}", dict(found) | variable))["config"]
    return found


async def _find(connection: Connection, name: str) -> Mapping[str, Any] | None:
    try:
        config: Mapping[str, Any] = (await ask(connection, f"STREAM.INFO.{name}"))["config"]
    except JetStreamError as error:
        if error.number in JetStreamError.NOT_FOUND:
            return None
        raise
    return config


async def _make(connection: Connection, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    name = wanted["name"]
    try:
        config: Mapping[str, Any] = (await ask(connection, f"STREAM.CREATE.{name}", wanted))["config"]
    except JetStreamError as error:
        # Another gateway that starts now may have been quicker.
        found = await _find(connection, name) if error.number == JetStreamError.NAME_IN_USE else None
        if found is None:
            raise
        return found
    return config


def _check(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    name = wanted["name"]
    advice = "Set nats.prefix to another name, or remove the stream if nothing that it holds is needed."
    format_version = found.get("metadata", {}).get(_FORMAT)
    if format_version is None:
        raise NatsOpenError(f"The stream {name} was not made by a gateway. {advice}")
    if format_version != _FORMAT_VERSION:
        raise NatsOpenError(
            f"The stream {name} was made by a newer version (format {format_version}, known is {_FORMAT_VERSION})."
        )
    different = [key for key in _FIXED if key in wanted and found.get(key) != wanted[key]]
    if different:
        raise NatsOpenError(f"The stream {name} was changed, in {', '.join(different)}. {advice}")
