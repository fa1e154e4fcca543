"""Credentials and channel arguments of the connections."""

from collections.abc import Sequence

import grpc

from d1_gateway_client import _private_file
from d1_gateway_client.options import Options

__all__ = ["authorization", "credentials", "settings"]


def credentials(options: Options) -> grpc.ChannelCredentials:
    """Read the certificates.

    Raises:
        OSError: A file cannot be read, or others can reach the key file.
    """
    ca, certificate = (
        None if file is None else file.read_bytes() for file in (options.ca_file, options.certificate_file)
    )
    key = None if options.key_file is None else _private_file.read(options.key_file)
    return grpc.ssl_channel_credentials(ca, private_key=key, certificate_chain=certificate)


def settings(options: Options) -> Sequence[tuple[str, int | str]]:
    """Return the arguments of a channel."""
    target_name = [] if options.server_name is None else [("grpc.ssl_target_name_override", options.server_name)]
    return [
        # By default gRPC uses the first address of a name that answers, and the other gateways get nothing.
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.keepalive_time_ms", int(options.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Finds a dead connection before the next call, and under a silent watch.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # gRPC's default is two minutes after a long outage.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Each channel has its own connection, so a second channel works if the first one's is dead.
        ("grpc.use_local_subchannel_pool", 1),
        *target_name,
    ]


def authorization(token: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a bearer token."""
    return () if token is None else (("authorization", f"Bearer {token}"),)
