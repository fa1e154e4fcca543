"""Settings files to begin with, one for each shape of a deployment; what they say of a setting is its docstring."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

import orjson

from gateway.settings.loading import Settings
from gateway.settings.schema import Schema, reference, schema

__all__ = ["Shape", "settings_file"]

_WIDTH: Final = 110
_KEYS: Final = "/etc/d1-gateway"
_ISSUER: Final = "ISSUER0001"


class Shape(StrEnum):
    """How the gateway is deployed."""

    EMBEDDED = "embedded"
    CLUSTER = "cluster"
    BEHIND_PROXY = "behind-proxy"


_MEANINGS: Final = {
    Shape.EMBEDDED: "one gateway, which keeps its event log in a file",
    Shape.CLUSTER: "several gateways, which share NATS with JetStream: docs/cluster.md",
    Shape.BEHIND_PROXY: "one gateway, with a proxy that terminates D1's TLS connections: docs/exposure.md",
}
_HEAD: Final = """\
# Settings of d1-gateway: {meaning}.
#
# Written by `d1-gateway config init --shape {shape}`. Replace {issuer} by the issuer id that D1 gave you, and what is
# marked so. Make the files that are named here, and let `d1-gateway config check` check all of it; with `--connect` it
# tries the connections too. Lines of the form "# key = value" are off: the value is the default, or an example.
# docs/settings.md lists all settings; each may come from the environment instead. A private file belongs to the
# gateway's user with mode 0600 or less, or to root with mode 0640 or less.
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    value: object = ...
    """An ellipsis for the default."""
    note: str = ""
    """Where its file comes from, or by what to replace it."""
    is_on: bool = True


_Table: TypeAlias = Mapping[str, _Entry]


def settings_file(shape: Shape) -> str:
    """Return a settings file as TOML, with comments. `load` takes it once the files that it names exist."""
    document = schema(Settings)
    head = _HEAD.format(meaning=_MEANINGS[shape], shape=shape, issuer=_ISSUER)
    tables = _tables(shape).items()
    return head + "".join("\n".join(["", *_table(document, header, entries), ""]) for header, entries in tables)


def _file(name: str, origin: str, *, is_on: bool = True) -> _Entry:
    return _Entry(f"{_KEYS}/{name}", f"From: {origin}", is_on)


def _replace(value: object, replacement: str, *, is_on: bool = True) -> _Entry:
    return _Entry(value, f"Replace by {replacement}", is_on)


def _tables(shape: Shape) -> dict[str, _Table]:
    """Return the tables of a shape in their order, by their line in TOML."""
    proxy = {"[edge.proxy]": {"networks": _replace(["10.1.2.3/32"], "the proxy's addresses, and nothing else")}}
    return {
        "[grpc]": {
            **_listener("grpc"),
            "tls_client_ca_file": _file("callers-ca.pem", "the CA of your internal services"),
        },
        "[access]": {"policy_file": _file("policy.toml", "you, as docs/access.md says")},
        "[edge]": {
            **_listener("edge"),
            "tls_client_ca_file": _file("d1-client-ca.pem", "Thales"),
            "tls_client_subjects": _replace(["d1.example"], "the names in D1's certificate", is_on=False),
        },
        **(proxy if shape is Shape.BEHIND_PROXY else {}),
        "[edge.oauth]": _edge_oauth(),
        "[d1]": _d1(),
        **_issuer(),
        "[threeds]": {
            "base_url": _replace("https://3ds.example", "the server's address", is_on=False),
            "api_key_file": _file("threeds-api-key", "the server's operator", is_on=False),
        },
        **_storage(shape),
        "[backfill]": {"calls_per_second": _replace(..., "the rate that Thales allows, if it is another", is_on=False)},
        "[admin]": {"host": _replace(..., "0.0.0.0 in a pod, as probes come from outside", is_on=False)},
        "[log]": {"level": _Entry(is_on=False)},
    }


def _listener(name: str) -> _Table:
    return {
        "host": _Entry("0.0.0.0"),  # noqa: S104 (both listeners have TLS, and identify their clients)
        "port": _Entry(),
        "tls_certificate_file": _file(f"{name}.pem", "your CA, for this server's name"),
        "tls_key_file": _file(f"{name}-key.pem", "made with that certificate"),
    }


def _edge_oauth() -> _Table:
    return {
        "client_id": _replace("d1-client", "what is agreed with Thales", is_on=False),
        "client_secret_sha256": _replace("0" * 64, "what `d1-gateway keys hash-secret` prints", is_on=False),
        "signing_key_file": _file(
            "edge-token.jwk.json", f"d1-gateway keys token-signing --folder {_KEYS}", is_on=False
        ),
    }


def _d1() -> _Table:
    command = f"d1-gateway keys csr --folder {_KEYS} --common-name <as Thales wrote it>"
    return {
        "base_url": _replace(..., "what Thales names, if it is not production"),
        "tls_certificate_file": _file("d1-client.pem", "Thales, for the signing request of the next command"),
        "tls_key_file": _file("d1-client-key.pem", command),
    }


def _issuer() -> dict[str, _Table]:
    return {
        f"[[issuers.{_ISSUER}.assertion_keys]]": {
            "file": _file("assertion.jwk.json", f"d1-gateway keys assertion --folder {_KEYS}"),
            "kid": _replace("assertion-kid", "what that command prints"),
        },
        f"[[issuers.{_ISSUER}.d1_encryption_keys]]": {
            "file": _file("d1-encryption-public.jwk.json", "Thales"),
            "kid": _replace("d1-encryption-kid", "what Thales names"),
        },
    }


def _storage(shape: Shape) -> dict[str, _Table]:
    retention = {"retention_seconds": _Entry(is_on=False), "retention_bytes": _Entry(is_on=False)}
    if shape is not Shape.CLUSTER:
        return {"[event_log]": {"path": _Entry("/var/lib/d1-gateway/events.db"), **retention}}
    servers = [f"tls://nats-{number}.example:4222" for number in range(3)]
    command = f"(umask 077; openssl rand -hex 32 > {_KEYS}/idempotency.key), once for all gateways"
    return {
        "[nats]": {
            "servers": _replace(servers, "your servers"),
            "tls_ca_file": _file("nats-ca.pem", "the CA of your NATS servers"),
            "tls_certificate_file": _file("nats-client.pem", "a CA that they trust"),
            "tls_key_file": _file("nats-client-key.pem", "made with that certificate"),
            "credentials_file": _file("nats.creds", "the operator of NATS, if it has such users", is_on=False),
        },
        "[idempotency]": {"key_file": _file("idempotency.key", command)},
        "[event_log]": retention,
    }


def _table(document: Schema, header: str, entries: _Table) -> Iterator[str]:
    """Return the lines of a table. One without a setting that is on is off as a whole."""
    is_on = any(entry.is_on for entry in entries.values())
    table, meaning = _described(document, header.strip("[]").split("."))
    yield from _comment(meaning)
    yield header if is_on else f"# {header}"
    for key, entry in entries.items():
        field = table["properties"][key]
        yield from _comment(field["description"])
        if entry.note:
            yield from _comment(entry.note)
        value = field["default"] if entry.value is ... else entry.value
        # JSON strings, numbers, booleans and lists of them are valid TOML.
        line = f"{key} = {orjson.dumps(value).decode()}"
        yield line if entry.is_on else f"# {line}"


def _described(document: Schema, path: Sequence[str]) -> tuple[Schema, str]:
    """Return the table at a path, and what it is for."""
    place, meaning = document, ""
    parts = iter(path)
    for part in parts:
        field = place["properties"][part]
        if "additionalProperties" in field:
            next(parts)
        place, meaning = document["$defs"][reference(field)], field["description"]
    return place, meaning


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
