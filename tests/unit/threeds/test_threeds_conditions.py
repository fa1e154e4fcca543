import pytest

from gateway.threeds.rules import conditions
from gateway.threeds.rules.conditions import ConditionError, Test
from gateway.threeds.rules.tables import ALWAYS, MESSAGES, objects, table


def _ask(text: str, values: dict[str, str | bool | None], known: dict[str, str] | None = None) -> bool:
    bound = conditions.bind(conditions.parse(text), lambda name: lambda message: message.get(name), known or {})
    return bound if isinstance(bound, bool) else bound(values)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ('a == "01"', {"a": "01"}, True),
        ('a == "01"', {}, False),
        ('a != "Y"', {}, True),
        ('a != "Y"', {"a": "Y"}, False),
        ("a in [02, 03]", {"a": "03"}, True),
        ("a in [02, 03]", {"a": "2"}, False),
        ("a is true", {"a": True}, True),
        ("a is true", {"a": False}, False),
        ("a is true", {}, False),
        ("a is not empty", {"a": "x"}, True),
        ("a is not empty", {}, False),
        ("a is empty", {}, True),
        ("o.i is empty", {"o.i": "x"}, False),
        ('a == "1" or b == "1" and c == "1"', {"a": "1"}, True),
        ('(a == "1" or b == "1") and c == "1"', {"a": "1"}, False),
        ('(a == "1" or b == "1") and c == "1"', {"b": "1", "c": "1"}, True),
    ],
)
def test_a_condition_is_read_as_it_is_written(text: str, values: dict[str, str | bool | None], expected: bool) -> None:  # noqa: FBT001
    assert _ask(text, values) is expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a ==", 'a == "1', "a == 1", "a in []", "a in [1"),
        *('a == "1" b', "(a is true", "a is maybe", "a ~ 1", "and"),
    ],
)
def test_a_condition_outside_the_grammar_is_an_error(text: str) -> None:
    with pytest.raises(ConditionError):
        conditions.parse(text)


def test_what_is_known_beforehand_is_decided_once_and_for_all() -> None:
    text = 'category == "01" or (category == "02" and reason in [02, 03])'

    def bound(category: str) -> conditions.Predicate | bool:
        return conditions.bind(conditions.parse(text), lambda name: lambda m: m.get(name), {"category": category})

    assert bound("01") is True
    assert bound("80") is False
    open_question = bound("02")
    assert not isinstance(open_question, bool)
    assert open_question({"reason": "03"})
    assert not open_question({})


def test_an_and_of_known_truths_is_a_known_truth() -> None:
    assert _ask('a == "1" and b != "1"', {}, {"a": "1", "b": "2"}) is True
    assert _ask('a == "1" and b is true', {"b": True}, {"a": "2"}) is False


def test_a_value_of_another_kind_does_not_pass_for_a_code() -> None:
    # True == 1 in Python.
    assert not Test("a", frozenset({"1"})).holds(value=True)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ('a == "01"', {}, True),
        ('a != "01"', {}, True),
        ("a in [01, 02]", {}, True),
        ("a is true", {}, True),
        ("a is not empty", {}, True),
        ("a is empty", {}, False),
        ('a == "01" and b == "1"', {"b": "1"}, True),
        ('a == "01" and b == "1"', {"b": "2"}, False),
        ('a is empty or b == "1"', {"b": "1"}, True),
        ('b == "1"', {"b": "2"}, False),
    ],
)
def test_a_condition_on_a_field_that_is_to_change_may_yet_hold(
    text: str,
    values: dict[str, str | bool | None],
    expected: bool,  # noqa: FBT001
) -> None:
    assert conditions.may_hold(conditions.parse(text), values, {"a"}) is expected


def test_every_condition_of_every_table_names_fields_of_its_table() -> None:
    tables = [*(table(name) for name in MESSAGES), *objects().values()]
    told = {"deviceChannel", "messageCategory", "acsDecConInd"}
    asked = 0
    for rules in tables:
        known = {row.name: row for row in rules.rows}
        for row in rules.rows:
            if row.required in {"", ALWAYS}:
                continue
            for name in conditions.names_in(conditions.parse(row.required)):
                outer, _, inner = name.partition(".")
                assert outer in known or outer in told, (rules.name, row.name, name)
                if inner:
                    assert inner in {part.name for part in objects()[known[outer].type].rows}
                asked += 1
    assert asked > 100
