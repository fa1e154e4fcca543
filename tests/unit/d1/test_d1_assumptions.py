"""What is assumed about D1 is declared where it is used, and nothing else is."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pool

from adapters.d1.api import endpoints
from adapters.d1.assumptions import CONTRACT
from adapters.d1.callbacks import schema
from adapters.d1.openapi import Exchange, exchanges
from gateway.validation.annotations import field_rules
from tools.d1_declarations import names, shapes, uses

KNOWN = Path(__file__).parent / "d1-openapi.yaml"
TOKENS = {"token", "token_for_d1"}
"""Calls whose names are those of OAuth (RFC 6749)."""


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(KNOWN.read_text())
    return document


def of_schema() -> Mapping[str, frozenset[str]]:
    """The names of each object of the callbacks."""
    owners = [each for each in vars(schema).values() if isinstance(each, type) and each.__module__ == schema.__name__]
    return {owner.__name__: frozenset(value for key, value in vars(owner).items() if key.isupper()) for owner in owners}


def test_every_object_of_a_callback_is_declared_and_used() -> None:
    used = {each for call in exchanges() if call.served and call.name not in TOKENS for each in shapes(call).values()}

    assert used == set(of_schema().values())


def test_every_name_in_the_body_of_a_call_is_declared_and_used() -> None:
    calls = [call for call in exchanges() if not call.served and call.name not in TOKENS]
    operation = {of_schema()["ThreeDSOperation"], of_schema()["ThreeDSOperationDetails"]}
    used = {name for call in calls for each in shapes(call).values() if each not in operation for name in each}

    assert used == set(endpoints.FIELDS.values())
    assert [call.name for call in calls if operation <= set(shapes(call).values())] == [
        "list_operations",
        "get_operation",
    ]


def test_every_part_of_a_call_that_is_assumed_has_a_consequence() -> None:
    assumed = {
        part for each in vars(endpoints).values() if isinstance(each, endpoints.Endpoint) for part in each.assumed
    }

    assert assumed == endpoints.PARTS.keys()


def test_every_endpoint_and_every_assumed_name_is_used_by_a_function() -> None:
    declared = [name for name, each in vars(endpoints).items() if isinstance(each, endpoints.Endpoint)]
    keys = [f"{endpoints.__name__}.{name}" for name in declared]
    keys += [f"property {name}" for name in endpoints.ASSUMED_FIELDS]
    keys += [f"{schema.__name__}.{each.name.partition('.')[0]}" for each in names() if each.module == schema.__name__]

    assert [key for key in keys if not uses(key)] == []


def test_the_limits_of_the_contract_that_are_assumed_exist() -> None:
    pool = descriptor_pool.Default()
    for path in CONTRACT:
        message, _, name = path.rpartition(".")
        found = pool.FindMessageTypeByName(message)
        assert name in found.oneofs_by_name or field_rules(found.fields_by_name[name]).ByteSize(), path


def test_what_is_known_of_d1_marks_as_assumed_what_the_code_does(known: dict[str, Any]) -> None:
    for exchange in exchanges():
        if exchange.name not in TOKENS:
            used = {name for each in shapes(exchange).values() for name in each}
            shown = dict(properties_of(known, exchange))
            marked = {name for name, is_assumed in shown.items() if is_assumed}
            assert marked & used == declared(exchange) & shown.keys(), exchange.name


def declared(exchange: Exchange) -> set[str]:
    """The names in a call's bodies that the code declares as assumed."""
    objects = set(shapes(exchange).values())
    found = {
        each.value
        for each in names()
        if each.module == schema.__name__ and of_schema().get(each.name.partition(".")[0]) in objects
    }
    if "/banking/v2/" in exchange.path:
        used = {name for each in objects for name in each}
        found |= {endpoints.FIELDS[key] for key in endpoints.ASSUMED_FIELDS} & used
    return found


def properties_of(known: dict[str, Any], exchange: Exchange) -> Iterator[tuple[str, bool]]:
    """The properties in a call's bodies that are known of D1, and whether each is marked as assumed."""
    path = re.sub(r"\{\w+\}", "{}", exchange.path)
    [operation] = [
        item[exchange.method.lower()]
        for each, item in known["paths"].items()
        if re.sub(r"\{\w+\}", "{}", each) == path and exchange.method.lower() in item
    ]
    successes = [response for status, response in operation["responses"].items() if status.startswith("2")]
    for body in (operation.get("requestBody", {}), *successes):
        for content in resolved(known, body).get("content", {}).values():
            yield from properties_in(known, content["schema"])


def properties_in(known: dict[str, Any], node: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, each in resolved(known, node).get("properties", {}).items():
        whole = resolved(known, each)
        yield name, "x-assumed" in whole
        yield from properties_in(known, whole.get("items", whole))


def resolved(known: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    kind, name = node["$ref"].rsplit("/", 2)[1:]
    return {**known["components"][kind][name], **{key: value for key, value in node.items() if key != "$ref"}}
