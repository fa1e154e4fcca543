"""The policy: which caller may call which rpcs for which issuers. Deny by default.

The file is TOML:

    [[callers]]
    identity = "spiffe://bank/card-service"
    grants = [
        { rpcs = ["issuer.card.v1.CardService/*"], issuers = ["ISSUER0001"] },
        { rpcs = ["issuer.notification.v1.NotificationService/WatchNotifications"], issuers = ["*"] },
    ]

An ``identity`` is one of `gateway.auth.caller`, or a pattern that ends in ``/*`` and matches all with that prefix. An
entry of ``rpcs`` is a method, all methods of a service, or ``*`` for all rpcs of the gateway. ``issuers`` lists issuer
ids, or ``*`` for all. A caller has the grants of all entries that match it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from google.protobuf import descriptor_pool
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.auth.caller import Caller
from gateway.auth.grant import Grant
from gateway.formats.toml_input import read_toml
from gateway.settings import SettingsError

__all__ = ["Policy", "Vocabulary", "rpcs_of"]

_ALL: Final = "*"
_IDENTITY: Final = (
    r"^(spiffe://[a-z0-9._-]+/([A-Za-z0-9._-]+/)*([A-Za-z0-9._-]+|\*)"
    r"|dns:[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?"
    r"|jwt:([!-)+-~]+|[!-)+-~]+/\*))$"
)
"""``*`` is allowed only at the end of a pattern; elsewhere it would seem to have a meaning."""

_Issuers: TypeAlias = frozenset[str] | None
_Rights: TypeAlias = Mapping[str, _Issuers]
"""The granted issuers by rpc; None for all."""


def rpcs_of(services: Iterable[str]) -> frozenset[str]:
    """Return the paths of all rpcs of some services, as on the wire.

    Args:
        services: Full names whose generated code is imported, for example ``issuer.card.v1.CardService``.

    Raises:
        KeyError: A service is unknown.
    """
    pool = descriptor_pool.Default()
    return frozenset(
        f"/{service}/{method.name}" for service in services for method in pool.FindServiceByName(service).methods
    )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that a policy may use. Any other name is an error."""

    rpcs: frozenset[str]
    """The paths of all rpcs, see `rpcs_of`."""
    issuer_ids: Collection[str]
    """The configured issuers."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The grants of all callers."""

    _exact: Mapping[str, _Rights]
    _patterns: tuple[tuple[str, _Rights], ...]
    """By prefix; a matching identity is longer than it."""

    def grant(self, caller: Caller, rpc: str) -> Grant | None:
        """Return a caller's grant for an rpc; None if it may not call it."""
        issuers: set[str] = set()
        is_granted = False
        for rights in self._rights_of(caller.identity):
            if rpc in rights:
                granted = rights[rpc]
                if granted is None:
                    return Grant(caller, rpc, None)
                issuers |= granted
                is_granted = True
        return Grant(caller, rpc, frozenset(issuers)) if is_granted else None

    def names(self, caller: Caller) -> bool:
        """Return whether a caller has any grant."""
        return any(True for _ in self._rights_of(caller.identity))

    def _rights_of(self, identity: str) -> Iterator[_Rights]:
        if identity in self._exact:
            yield self._exact[identity]
        for prefix, rights in self._patterns:
            if identity.startswith(prefix) and identity != prefix:
                yield rights

    @classmethod
    def parse(cls, document: bytes, path: Path, vocabulary: Vocabulary) -> "Policy":
        """Read a policy file.

        Args:
            document: The content.
            path: The path, for the errors.
            vocabulary: The names that it may use.

        Raises:
            SettingsError: The policy has mistakes; all of them are named.
        """
        try:
            file = _File.model_validate(read_toml(document))
        except ValidationError as error:
            raise SettingsError(
                [f"{_dotted(each['loc'])}: {each['msg']} ({path})" for each in error.errors()]
            ) from None
        except ValueError as error:
            raise SettingsError([f"{path}: {error}"]) from None
        mistakes = [f"{where}: {what} ({path})" for where, what in _mistakes(file, vocabulary)]
        if mistakes:
            raise SettingsError(mistakes)
        rights = {each.identity: _rights(each, vocabulary) for each in file.callers}
        return cls(
            {identity: each for identity, each in rights.items() if not identity.endswith(_ALL)},
            tuple((identity.removesuffix(_ALL), each) for identity, each in rights.items() if identity.endswith(_ALL)),
        )


_Names: TypeAlias = Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Grant(_Table):
    rpcs: _Names
    issuers: _Names


class _Caller(_Table):
    identity: Annotated[str, StringConstraints(pattern=_IDENTITY, max_length=2048)]
    grants: Annotated[list[_Grant], Field(min_length=1)]


class _File(_Table):
    callers: Annotated[list[_Caller], Field(min_length=1)]


def _dotted(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _mistakes(file: _File, vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """Yield the location and text of each mistake in a well-formed file."""
    identities: set[str] = set()
    for number, caller in enumerate(file.callers):
        if caller.identity in identities:
            yield f"callers.{number}.identity", f"{caller.identity} is listed twice"
        identities.add(caller.identity)
        for grant_number, grant in enumerate(caller.grants):
            location = f"callers.{number}.grants.{grant_number}"
            yield from ((f"{location}.rpcs", what) for what in _mistakes_in_rpcs(grant.rpcs, vocabulary))
            yield from ((f"{location}.issuers", what) for what in _mistakes_in_issuers(grant.issuers, vocabulary))


def _mistakes_in_rpcs(patterns: Collection[str], vocabulary: Vocabulary) -> Iterator[str]:
    yield from _superfluous(patterns)
    for pattern in patterns:
        if not _matching(pattern, vocabulary.rpcs):
            yield f"the gateway has no rpc {pattern}"


def _mistakes_in_issuers(issuer_ids: Collection[str], vocabulary: Vocabulary) -> Iterator[str]:
    yield from _superfluous(issuer_ids)
    for issuer_id in issuer_ids:
        if issuer_id != _ALL and issuer_id not in vocabulary.issuer_ids:
            yield f"no issuer {issuer_id} is configured"


def _superfluous(values: Collection[str]) -> Iterator[str]:
    if len({*values}) != len(values):
        yield "an entry is listed twice"
    if _ALL in values and len(values) > 1:
        yield f"{_ALL} must be the only entry"


def _matching(pattern: str, rpcs: frozenset[str]) -> frozenset[str]:
    if pattern == _ALL:
        return rpcs
    service, _, method = pattern.partition("/")
    if method == _ALL:
        return frozenset(rpc for rpc in rpcs if rpc.startswith(f"/{service}/"))
    return rpcs & {f"/{pattern}"}


def _rights(caller: _Caller, vocabulary: Vocabulary) -> _Rights:
    rights: dict[str, _Issuers] = {}
    for grant in caller.grants:
        issuers = None if _ALL in grant.issuers else frozenset(grant.issuers)
        for pattern in grant.rpcs:
            for rpc in _matching(pattern, vocabulary.rpcs):
                rights[rpc] = _united(rights.get(rpc, frozenset()), issuers)
    return rights


def _united(one: _Issuers, other: _Issuers) -> _Issuers:
    return None if one is None or other is None else one | other
