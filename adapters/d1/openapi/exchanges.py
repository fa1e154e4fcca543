"""What the gateway sends and reads in one call, as its own code shows it."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.validation.annotations import field_rules

__all__ = ["Exchange", "Probe", "Probed", "Property", "observed", "text_limits", "unknown_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A property, a parameter or a header that the gateway sends, and every value that it may have."""

    name: str
    kind: str = "string"
    """Its JSON type."""
    always: bool = True
    """Whether it is sent whenever the object that it belongs to is."""
    pattern: str = ""
    least: int | None = None
    """The shortest text, or the smallest number."""
    most: int | None = None
    """The longest text, or the largest number."""
    words: frozenset[str] = frozenset()
    """Every value, if the gateway knows them all."""
    own_words: frozenset[str] = frozenset()
    """Values that the gateway sends by itself, among others that callers choose."""
    children: Sequence["Property"] = ()
    """Properties of an object, or of the objects of a list."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What the gateway's code makes of a body."""

    misfits: Sequence[str] = ()
    """Paths of properties that are not in the form that the gateway takes."""
    unknown: Sequence[str] = ()
    """Words of enumerations that it does not know."""
    failure: str = ""
    """Why the whole body is refused; empty if it is taken."""


Probe: TypeAlias = Callable[[dict[str, Any]], Probed]
"""Lets the gateway's code read a body, which takes it apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A call: the gateway's to D1, or D1's to the gateway."""

    name: str
    served: bool
    """Whether D1 calls the gateway."""
    method: str
    path: str
    """With placeholders in braces."""
    status: int
    """The success that the gateway expects, and takes any 2xx for; of a served call, the one that it answers with."""
    query: Sequence[Property] = ()
    """Parameters that the gateway sends; of a served call, those that it reads."""
    headers: Sequence[Property] = ()
    """Headers that the gateway sends, without those of HTTP."""
    media_type: str = "application/json"
    """Of the request."""
    sends: Sequence[Property] = ()
    """The request's properties; of a served call, the response's."""
    reads: frozenset[str] = frozenset()
    """Paths of the response's properties; of a served call, the request's."""
    choices: Sequence[frozenset[str]] = ()
    """Sets of those paths of which one suffices."""
    needs_body: bool = False
    """Whether a response without a body is refused."""
    batch: str = ""
    """Name of the list in which D1 may send several bodies in one; empty if it does not."""
    errors: frozenset[int] = frozenset()
    """Error statuses that the gateway may answer with."""
    probe: Probe | None = None
    """Reads the response; of a served call, the request. None if the body is not read."""


class _Watched(dict[str, Any]):
    """A JSON object that notes which of its properties the code asks for."""

    def __init__(self, values: Mapping[str, Any], seen: set[str], prefix: str = "") -> None:
        super().__init__({name: _watched(value, seen, prefix + name) for name, value in values.items()})
        self._seen = seen
        self._prefix = prefix

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        self._seen.add(self._prefix + name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict.get`."""
        self._seen.add(self._prefix + name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """See `dict.pop`."""
        self._seen.add(self._prefix + name)
        return super().pop(name, *default)


def _watched(value: Any, seen: set[str], path: str) -> Any:
    if isinstance(value, dict):
        return _Watched(value, seen, f"{path}.")
    if isinstance(value, list):
        return [_watched(item, seen, path) for item in value]
    return value


def observed(
    read: Callable[[dict[str, Any]], object], least: Mapping[str, Any]
) -> tuple[frozenset[str], Sequence[frozenset[str]]]:
    """Observe which properties code reads.

    Args:
        read: The code.
        least: The least object of which it reads everything: with each object inside.

    Returns:
        The paths of the properties, and sets of those of which one suffices: with one, the code does not ask for the
        others.
    """
    paths = _asked(read, least)
    choices: list[frozenset[str]] = []
    for path in sorted(paths):
        values = deepcopy(dict(least))
        *parents, name = path.split(".")
        place: Any = values
        for parent in parents:
            place = place[parent][0] if isinstance(place[parent], list) else place[parent]
        if name in place:
            continue
        place[name] = "1"
        siblings = {each for each in paths - _asked(read, values) if each.split(".")[:-1] == parents}
        if siblings:
            choice = frozenset({path, *siblings}).union(*(each for each in choices if path in each or each & siblings))
            choices = [*(each for each in choices if not each & choice), choice]
    return paths, choices


def _asked(read: Callable[[dict[str, Any]], object], values: Mapping[str, Any]) -> frozenset[str]:
    seen: set[str] = set()
    read(_Watched(values, seen))
    return frozenset(seen)


def text_limits(descriptor: FieldDescriptor) -> dict[str, Any]:
    """Return the limits of a text of the contract, as arguments of `Property`."""
    rules = field_rules(descriptor).string
    return {
        "pattern": rules.pattern,
        "least": rules.len or rules.min_len or None,
        "most": rules.len or rules.max_len or None,
    }


def unknown_words(message: Message) -> list[str]:
    """Return D1's words for which the contract has no value: a text is kept beside an enum that is unspecified."""
    names = {each.name for each in message.DESCRIPTOR.fields}
    return [
        getattr(message, f"{each.name}_text")
        for each in message.DESCRIPTOR.fields
        if each.enum_type is not None
        and f"{each.name}_text" in names
        and not getattr(message, each.name)
        and getattr(message, f"{each.name}_text")
    ]
