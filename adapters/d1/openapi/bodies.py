"""Compares bodies, parameters and headers: what the gateway sends, and what it reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from adapters.d1.openapi.exchanges import Exchange, Probe, Property
from adapters.d1.openapi.schema import Schema, sample
from adapters.d1.openapi.texts import Texts, same_pattern

__all__ = ["Finding", "difference", "note", "reads", "sends", "value"]

_SAME_NAME: Final = 0.7
"""How alike two names are that may be one (`difflib.get_close_matches`)."""
_WORD_LENGTH: Final = 5
"""Of a name that another may begin with and mean the same."""
_CODE: Final = "^[A-Z][A-Z0-9_]{0,63}$"
"""The contract's pattern of D1's codes, of which D1 decides: the gateway sends any."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a call."""

    is_difference: bool
    """False: a note, which needs no correction by itself."""
    text: str


def difference(text: str) -> Finding:
    """Return a difference."""
    return Finding(is_difference=True, text=text)


def note(text: str) -> Finding:
    """Return a note."""
    return Finding(is_difference=False, text=text)


def sends(properties: Sequence[Property], schema: Schema, place: str) -> Iterator[Finding]:
    """Compare the properties of an object that the gateway sends; `place` names the object and ends with a space."""
    known = schema.properties
    own = {each.name for each in properties}
    for each in properties:
        if each.name in known:
            yield from value(each, known[each.name], f"{place}{each.name}")
        elif known or schema.is_closed:
            yield _unknown(each, schema, f"{place}{each.name}", set(known) - own)
    optional = {each.name for each in properties if not each.always}
    for name in sorted(schema.required):
        if name in known and known[name].is_read_only:
            continue
        if name not in own:
            yield difference(f"{place}{name}: required, and never sent")
        elif name in optional:
            yield difference(f"{place}{name}: required, and may be left out")
    further = sorted(name for name in set(known) - own - schema.required if not known[name].is_read_only)
    if further:
        yield note(f"{place.strip()}: never sent: {', '.join(further)}")


def _unknown(sent: Property, schema: Schema, place: str, others: set[str]) -> Finding:
    near = _near(sent.name, others)
    if schema.is_closed:
        return difference(f"{place}: no such property, and others are refused{near}")
    if near:
        return difference(f"{place}: no such property{near}")
    return note(f"{place}: no such property; others are let through")


def _near(name: str, others: set[str]) -> str:
    by_letters = {each.lower().replace("_", ""): each for each in sorted(others)}
    letters = name.lower().replace("_", "")
    longer = [each for each in by_letters if len(letters) >= _WORD_LENGTH and each.startswith(letters)]
    found = get_close_matches(letters, by_letters, n=1, cutoff=_SAME_NAME) or longer
    return f"; {by_letters[found[0]]}?" if found else ""


def value(sent: Property, schema: Schema, place: str) -> Iterator[Finding]:
    """Compare the values that the gateway may send for a property, a parameter or a header."""
    types = schema.types | ({"integer"} if "number" in schema.types else set())
    if types and sent.kind not in types:
        yield difference(f"{place}: sent as {sent.kind}, the file has {' or '.join(sorted(schema.types))}")
        return
    if sent.children:
        yield from sends(sent.children, schema.items if sent.kind == "array" else schema, f"{place}.")
        return
    if schema.values is not None:
        yield from _words(sent, schema.values, place)
    elif sent.kind == "string":
        yield from _text(sent, schema, place)
    elif sent.kind == "integer":
        yield from _number(sent, schema, place)


def _words(sent: Property, values: Sequence[str], place: str) -> Iterator[Finding]:
    refused = sorted((sent.words | sent.own_words) - set(values))
    if refused:
        yield difference(f"{place}: {', '.join(refused)} may be sent, the file has {', '.join(values)}")
    elif sent.pattern == _CODE:
        yield note(f"{place}: the file has {', '.join(values)}; callers may choose others, which D1 then refuses")
    elif not sent.words:
        yield difference(f"{place}: the file has only {', '.join(values)}")
    elif unused := [each for each in values if each not in sent.words]:
        yield note(f"{place}: never sent: {', '.join(unused)}")


def _text(sent: Property, schema: Schema, place: str) -> Iterator[Finding]:
    least, most = schema.least("minLength"), schema.most("maxLength")
    ours = Texts.of(sent.pattern, sent.least, sent.most)
    if sent.words:
        ours = Texts(None, min(map(len, sent.words)), max(map(len, sent.words)))
    elif not sent.always:
        ours = ours._replace(least=max(1, ours.least))
    for pattern in schema.patterns:
        if same_pattern(pattern, sent.pattern):
            # The lengths say no more than the pattern, or less.
            least, most = None, most if sent.most is not None else None
            continue
        theirs = Texts.of(pattern, least, most)
        is_within = (
            theirs.characters is not None and ours.characters is not None and ours.characters <= theirs.characters
        )
        if not is_within:
            yield difference(f"{place}: the file's pattern is {pattern}, the gateway's {sent.pattern or 'none'}")
        least, most = theirs.least, theirs.most if theirs.most < float("inf") else None
    if least is not None and ours.least < least:
        yield difference(f"{place}: at least {least:g} characters, the gateway sends {ours.least:g}")
    if most is not None and ours.most > most:
        yield difference(f"{place}: at most {most:g} characters, the gateway sends {_count(ours.most)}")
    if schema.format == "uuid":
        yield difference(f"{place}: a UUID, the gateway sends others")


def _count(number: float) -> str:
    return "any number" if number == float("inf") else f"{number:g}"


def _number(sent: Property, schema: Schema, place: str) -> Iterator[Finding]:
    least, most = schema.least("minimum"), schema.most("maximum")
    if least is not None and (sent.least is None or sent.least < least):
        yield difference(f"{place}: at least {least:g}, the gateway sends {sent.least}")
    if most is not None and (sent.most is None or sent.most > most):
        yield difference(f"{place}: at most {most:g}, the gateway sends {sent.most or 'any number'}")


def reads(exchange: Exchange, schema: Schema, place: str) -> Iterator[Finding]:
    """Compare the properties that the gateway reads, and let its code read examples."""
    if exchange.batch in schema.properties and exchange.reads.isdisjoint(schema.properties):
        schema, place = schema.properties[exchange.batch].items, f"{place}{exchange.batch}."
    if not schema.properties:
        if exchange.reads:
            yield note(f"{place.strip()}: not to be compared, the file shows no properties")
        return
    paths = list(_paths(schema, exchange.reads))
    for path in sorted(exchange.reads):
        others = next((choice for choice in exchange.choices if path in choice), frozenset({path}))
        if others.isdisjoint(paths) and path == min(others):
            yield from _missing(path, others, exchange.reads, schema, place)
    if exchange.probe is not None:
        yield from _examples(exchange.probe, schema, place, served=exchange.served)
        yield from _unknown_words(exchange.probe, exchange.reads, schema, place)
    if further := sorted(set(paths) - exchange.reads):
        yield note(f"{place.strip()}: kept or passed over: {', '.join(further)}")


def _examples(probe: Probe, schema: Schema, place: str, *, served: bool) -> Iterator[Finding]:
    """Let the gateway's code read what a file shows: all of it, and only what it requires."""
    whole, least = probe(sample(schema)), probe(sample(schema, whole=False))
    for misfit in whole.misfits:
        yield difference(f"{place}{misfit}: the file has a form that the gateway does not take")
    for misfit in sorted(set(least.misfits) - set(whole.misfits)):
        yield difference(f"{place}{misfit}: may be absent, the gateway expects it")
    if whole.failure:
        yield difference(f"{place.strip()}: the gateway does not take what the file shows: {whole.failure}")
    elif least.failure and served:
        yield difference(f"{place.strip()}: what the file requires does not suffice: {least.failure}")
    elif least.failure:
        # Files seldom mark what a response always has.
        yield note(f"{place.strip()}: the gateway needs more than the file requires")


def _missing(path: str, others: frozenset[str], read: frozenset[str], schema: Schema, place: str) -> Iterator[Finding]:
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in schema.properties:
            return
        inner = schema.properties[parent]
        schema = inner.items if "array" in inner.types else inner
    if schema.properties:
        siblings = {each.rpartition(".")[2] for each in read if each.split(".")[:-1] == parents}
        near = _near(name, set(schema.properties) - siblings)
        yield difference(f"{place}{' or '.join(sorted(others))}: read, and not in the file{near}")


def _paths(schema: Schema, read: frozenset[str], prefix: str = "") -> Iterator[str]:
    """Yield the paths of properties, of those objects only that are read."""
    for name, each in schema.properties.items():
        path = prefix + name
        yield path
        if any(other.startswith(f"{path}.") for other in read):
            yield from _paths(each.items if "array" in each.types else each, read, f"{path}.")


def _unknown_words(probe: Probe, read: frozenset[str], schema: Schema, place: str) -> Iterator[Finding]:
    for path, values in _listed(schema, read):
        unknown = [each for each in values if each in probe(sample(schema, words={path: each})).unknown]
        if unknown:
            yield difference(f"{place}{path}: unknown to the contract: {', '.join(unknown)}")


def _listed(schema: Schema, read: frozenset[str], prefix: str = "") -> Iterator[tuple[str, Sequence[str]]]:
    for name, each in schema.properties.items():
        path = prefix + name
        if path in read and each.values:
            yield path, each.values
        if any(other.startswith(f"{path}.") for other in read):
            yield from _listed(each.items if "array" in each.types else each, read, f"{path}.")
