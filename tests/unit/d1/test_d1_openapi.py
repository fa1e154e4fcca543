"""The gateway does what is known of D1, and `d1 check` finds each kind of difference in a file that says otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.d1.api import endpoints
from adapters.d1.openapi import Comparison, UnusableFileError, compare, exchanges, read
from gateway.history.pagination import MAX_READ_SIZE
from sandbox.d1.model import contract
from tests.unit.d1.openapi_mutations import CARD, CARDS, MUTATIONS, NOTIFICATION, Spoil, renamed, schema

KNOWN = Path(__file__).parent / "d1-openapi.yaml"


@pytest.fixture(scope="module")
def known_json() -> str:
    return json.dumps(yaml.safe_load(KNOWN.read_text()))


@pytest.fixture
def known(known_json: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(known_json)
    return document


def compared(document: dict[str, Any], folder: Path) -> Comparison:
    file = folder / "d1.json"
    file.write_text(json.dumps(document))
    return compare(read(file))


def findings(comparison: Comparison, *, differences: bool) -> list[str]:
    return [
        f"{each.exchange.name}: {finding.text}"
        for each in comparison.compared
        for finding in each.findings
        if finding.is_difference == differences
    ]


def test_the_gateway_does_what_is_known_of_d1() -> None:
    comparison = compare(read(KNOWN))

    assert findings(comparison, differences=True) == []
    assert comparison.missing == []
    assert [operation.path for operation in comparison.unused] == [
        f"{CARD}/credentials",
        "/banking/v1/issuers/{issuerId}/cards/{cardId}",
        "/banking/v1/issuers/{issuerId}/consumers/{consumerId}/cards",
        "/cms/api/v1/issuers/{issuerId}/cards/credentials",
        "/notifications/d1/v2/issuers/{issuerId}/cards",
    ]


def test_every_endpoint_is_called_by_the_code_that_is_compared() -> None:
    declared = {each for each in vars(endpoints).values() if isinstance(each, endpoints.Endpoint)}

    called = [(each.method, each.path) for each in exchanges() if not each.served]

    assert sorted(called) == sorted((each.method, each.template) for each in declared)


@pytest.mark.parametrize(("spoil", "expected"), MUTATIONS)
def test_each_kind_of_difference_is_found(
    known: dict[str, Any], tmp_path: Path, spoil: Spoil, expected: list[str]
) -> None:
    spoil(known)

    found = findings(compared(known, tmp_path), differences=True)

    assert found == expected


def test_a_page_is_as_large_as_the_gateway_asks_for() -> None:
    sizes = {each.most for call in exchanges() for each in call.query if each.name == endpoints.LIMIT}

    assert sizes == {MAX_READ_SIZE}


def test_the_simulator_serves_and_calls_what_is_known_of_d1(known: dict[str, Any]) -> None:
    served = {value for name, value in vars(contract).items() if name.endswith("_PATH") and isinstance(value, str)}
    served |= {contract.CARD_PATH + suffix for suffix in contract.OPERATIONS.values()}
    called = [each for each in vars(contract).values() if isinstance(each, contract.Callback)]

    assert served <= known["paths"].keys()
    for each in called:
        operation = known["paths"][each.path][each.method.lower()]
        assert [status for status in operation["responses"] if status.startswith("2")] == [str(each.success)]
    for name, form in (
        ("CardId", contract.CARD_ID),
        ("ConsumerId", contract.CONSUMER_ID),
        ("CardProductId", contract.CARD_PRODUCT_ID),
        ("OperationId", contract.OPERATION_ID),
        ("ReasonText", contract.REASON),
    ):
        assert schema(known, name)["pattern"] == f"^{form.pattern}$"
    reasons = {
        "SuspendCardRequest": contract.SuspendReason,
        "ResumeCardRequest": contract.ResumeReason,
        "Decision": contract.ReasonCode,
    }
    for name, words in reasons.items():
        assert set(schema(known, name)["properties"]["reasonCode"]["enum"]) == set(words)
    assert set(schema(known, "ThreeDSOperation")["properties"]["operation"]["enum"]) == set(contract.ThreeDSOperation)


def test_what_is_let_through_is_a_note(known: dict[str, Any], tmp_path: Path) -> None:
    before = findings(compared(known, tmp_path), differences=False)
    renamed(schema(known, "CreateCardRequest")["properties"], "nameOnCard", "embossing")
    known["paths"][f"{CARD}/operations:renew"]["post"]["responses"] = {"202": {"description": "Accepted"}}
    known["paths"][f"{CARD}/operations:delete"]["post"]["deprecated"] = True

    comparison = compared(known, tmp_path)

    assert findings(comparison, differences=True) == []
    assert sorted(set(findings(comparison, differences=False)) - set(before)) == [
        "create_card: request nameOnCard: no such property; others are let through",
        "create_card: request: never sent: embossing",
        "delete_card: deprecated",
        "renew_card: status: 204 expected, the file has 202; any 2xx is taken",
    ]


def test_a_file_of_some_calls_is_no_difference(known: dict[str, Any], tmp_path: Path) -> None:
    known["paths"] = {path: item for path, item in known["paths"].items() if path.startswith(CARDS)}

    comparison = compared(known, tmp_path)

    assert findings(comparison, differences=True) == []
    assert sorted(each.exchange.name for each in comparison.compared) == [
        *("create_card", "delete_card", "register_card", "renew_card", "replace_card", "resume_card", "suspend_card")
    ]
    assert len(comparison.compared) + len(comparison.missing) == len(exchanges())


def test_the_path_of_a_server_stands_before_the_paths_of_a_file(known: dict[str, Any], tmp_path: Path) -> None:
    known["paths"] = {
        path.removeprefix("/banking/v1"): item
        for path, item in known["paths"].items()
        if path.startswith("/banking/v1")
    }
    known["servers"] = [{"url": "https://{host}/{base}/v1/", "variables": {"base": {"default": "banking"}}}]

    comparison = compared(known, tmp_path)

    assert findings(comparison, differences=True) == []
    assert len(comparison.compared) == 4


def test_a_batch_of_operations_is_compared_by_its_items(known: dict[str, Any], tmp_path: Path) -> None:
    body = known["paths"][NOTIFICATION]["post"]["requestBody"]["content"]["application/json"]
    item = dict(schema(known, "ThreeDSOperation"), properties=dict(schema(known, "ThreeDSOperation")["properties"]))
    del item["properties"]["error"]
    body["schema"] = {"type": "object", "properties": {"operations": {"type": "array", "items": item}}}

    assert findings(compared(known, tmp_path), differences=True) == [
        "three_ds_notification: request operations.error: read, and not in the file"
    ]


def test_schemas_are_read_through_their_parts_and_choices(known: dict[str, Any], tmp_path: Path) -> None:
    whole = schema(known, "RegisterCardRequest")
    required = {"required": whole.pop("required")}
    known["components"]["schemas"]["RegisterCardRequest"] = {"allOf": [whole, required]}
    consumer = schema(known, "ConsumerOperation")
    consumer["properties"]["operation"] = {"oneOf": [{"enum": ["DELETE"]}, {"enum": ["REGISTER", "MERGE"]}]}

    assert findings(compared(known, tmp_path), differences=True) == [
        "consumer_notification: request operation: unknown to the contract: MERGE"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a: b: c", "not YAML: line 1: mapping values are not allowed"),
        ("{", "not JSON: line 1: Expecting property name"),
        ("[1, 2]", "not an OpenAPI file: not an object"),
        ("openapi: 3.0.3", "not an OpenAPI file: it has no paths"),
        ("swagger: '2.0'\npaths: {}", "not an OpenAPI 3 file: it is OpenAPI 2.0"),
        ("openapi: 3.0.3\npaths: {/a: {$ref: '#/nowhere'}}", "$ref #/nowhere leads nowhere"),
        ("openapi: 3.0.3\npaths: {/a: {$ref: other.yaml}}", "$ref other.yaml leads out of the file"),
        ("openapi: 3.0.3\npaths: {/a: {$ref: '#/paths/~1a'}}", "$ref #/paths/~1a leads in a circle"),
        ("openapi: 3.0.3\npaths: !!python/object:os.system {}", "not YAML: line 2: could not determine a constructor"),
        ("[" * 100_000, "not YAML"),
        ('{"a":' * 100_000, "nested too deep"),
        ("#" * (4 * 1024 * 1024 + 1), "larger than 4 MiB"),
        ("\udcff", "not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_compared_is_refused(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(UnusableFileError) as refused:
        compare(read(file))

    assert why in str(refused.value)


def test_words_of_yaml_stay_words(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("openapi: 3.0.3\ninfo: {title: no, version: 2026-01-01}\npaths: {}")

    document = read(file)

    assert (document.title, document.version) == ("no", "2026-01-01")
