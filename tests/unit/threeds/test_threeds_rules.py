"""Walks every row of every table: there where it must be, refused where it may not, each value rule broken once."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any

import pytest
from google.protobuf.message import Message

from gateway.threeds.rules.codes import codes_of
from gateway.threeds.rules.compiler import check, check_request
from gateway.threeds.rules.conditions import names_in, parse
from gateway.threeds.rules.formats import text_requirements
from gateway.threeds.rules.tables import ALWAYS, MESSAGES, VERSIONS, Row, Table, objects, table
from issuer.threeds.v1 import areq_pb2
from tests.unit.threeds.threeds_samples import (
    CATEGORIES,
    CHANNELS,
    CONTRACT,
    bad_texts,
    find,
    get,
    good_areq,
    good_message,
    good_text,
    kind,
    made,
    put,
)

_SELECTORS = ("message_version", "device_channel", "message_category")
_SCENES = list(product(VERSIONS, CHANNELS, CATEGORIES))

Place = tuple[Message, Message, Row, str]
"""A message, the message or object in it that has the row's field, the row, and the path of the field."""


def _faults(
    message: Message, version: str, channel: str, category: str, known: Mapping[str, Any] | None = None
) -> set[tuple[str, str]]:
    told = (known or {}).get("acsDecConInd") or ""
    found = check(message, version=version, channel=channel, category=category, acs_dec_con_ind=told)
    return {(violation.field, violation.rule) for violation in found}


def _places(name: str, version: str, channel: str, category: str) -> Iterator[Place]:
    """Every field of a message and of the objects in it, each in a good message of its own."""

    def inside(rules: Table, steps: list[str]) -> Iterator[Place]:
        for row in rules.fields(version).values():
            message = good_message(name, version, channel, category)
            holder, path = message, ""
            for step in steps:
                field = get(holder, step)
                holder = getattr(holder, field.name)[0] if field.is_repeated else getattr(holder, field.name)
                path += field.name + ("[0]." if field.is_repeated else ".")
            own = find(holder, row.name)
            if own is None:
                assert row.name == "messageType"
                continue
            yield message, holder, row, path + own.name
            if row.type in objects() and row.used_in(channel, category):
                yield from inside(objects()[row.type], [*steps, row.name])

    return inside(table(name), [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONTRACT)
def test_what_is_required_is_missed_and_what_is_out_of_scope_is_refused(name: str, version: str) -> None:
    for channel, category in product(CHANNELS, CATEGORIES):
        for message, holder, row, path in _places(name, version, channel, category):
            field = get(holder, row.name)
            if not row.used_in(channel, category):
                _put_anything(holder, row)
                assert (path, "emv.scope") in _faults(message, version, channel, category), row
            else:
                holder.ClearField(field.name)
                missed = (path, "emv.required") in _faults(message, version, channel, category)
                if row.required in {"", ALWAYS}:
                    assert missed is (row.required == ALWAYS), row


@pytest.mark.parametrize("name", CONTRACT)
def test_a_field_of_another_version_is_refused(name: str) -> None:
    for version in VERSIONS:
        known = table(name).fields(version)
        for row in table(name).rows:
            if row.name in known:
                continue
            message = good_message(name, version, "02", "01")
            _put_anything(message, row)
            field = get(message, row.name)
            assert (field.name, "emv.version") in _faults(message, version, "02", "01")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONTRACT)
def test_every_value_rule_of_every_row_can_be_broken(name: str, version: str) -> None:
    ascii_only = table(name).ascii
    done: set[str] = set()
    for channel in CHANNELS:
        for message, holder, row, path in _places(name, version, channel, "01"):
            if path in done or not row.used_in(channel, "01"):
                continue
            done.add(path)
            for value, rule in _bad_values(holder, row, ascii_only=ascii_only):
                field = get(holder, row.name)
                put(holder, field, value)
                expected = path
                if field.is_repeated and rule != "emv.single" and not (row.array and rule == "emv.length"):
                    expected += "[0]"
                elif kind(field) == "CardholderInfo":
                    expected += ".text"
                assert (expected, rule if field.enum_type is None else "emv.code") in _faults(
                    message, version, channel, "01"
                ), (row, value)


def _bad_values(holder: Message, row: Row, *, ascii_only: bool) -> Iterator[tuple[Any, str]]:
    field = get(holder, row.name)
    if row.array and row.max is not None:
        item = getattr(holder, field.name)[0]
        yield [item] * (row.max + 1), "emv.length"
    if field.is_repeated and not row.array:
        yield [getattr(holder, field.name)[0]] * 2, "emv.single"
    if row.type == "json":
        if row.max is not None:
            yield {"a": "x" * row.max}, "emv.length"
        yield {"a": float("inf")}, "emv.json"
        if ascii_only:
            yield {"a": "é"}, "emv.ascii"
    elif row.type == "bool" and row.codes:
        yield False, "emv.code"
    elif row.type == "string":
        yield from bad_texts(row, ascii_only=ascii_only)
        if kind(field) == "Value":
            yield {"a": 1}, "emv.type"


def _put_anything(holder: Message, row: Row) -> None:
    field = get(holder, row.name)
    value: Any = good_text(row)
    if row.type in objects():
        value = made(field)
    elif row.type == "json":
        value = {"a": 1}
    elif row.type == "bool":
        value = True
    put(holder, field, value)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONTRACT)
def test_a_condition_holds_for_the_right_combinations_of_the_values_that_it_looks_at(name: str, version: str) -> None:
    seen: dict[tuple[str, str], set[bool]] = {}
    done: set[tuple[str, ...]] = set()
    for channel, category in product(CHANNELS, CATEGORIES):
        for message, holder, row, path in _places(name, version, channel, category):
            if row.required in {"", ALWAYS} or not row.used_in(channel, category):
                continue
            field = get(holder, row.name)
            known = {"deviceChannel": channel, "messageCategory": category}
            # A condition that does not look at the channel or the category is evaluated in one of them.
            case = (path, row.required, *(value for name, value in known.items() if name in row.required))
            if case in done:
                continue
            done.add(case)
            looked_at = [part for part in dict.fromkeys(names_in(parse(row.required))) if part not in known]
            choices = [list(_choices(holder, part, row.required)) for part in looked_at]
            for combination in product(*choices):
                values: dict[str, Any] = known | dict(zip(looked_at, combination, strict=True))
                for part in looked_at:
                    _set(holder, part, values[part])
                holder.ClearField(field.name)
                faults = _faults(message, version, channel, category, values)
                parts = _open_parts(holder, looked_at, faults, path.removesuffix(field.name))
                # The first choice is None, which is not right for a field that is to have a value.
                right = product(*(choices[looked_at.index(part)][1:] for part in parts))
                now = _python(row.required, values)
                expected = now or any(
                    _python(row.required, values | dict(zip(parts, other, strict=True))) for other in right
                )
                assert ((path, "emv.required") in faults) is expected, (row, values)
                if now or not parts:
                    seen.setdefault((path, row.required), set()).add(now)
    # Each condition has been seen to hold and not to hold.
    assert {key for key, answers in seen.items() if len(answers) == 1} <= set()


def _open_parts(holder: Message, looked_at: list[str], faults: set[tuple[str, str]], prefix: str) -> list[str]:
    """The fields of a condition that break a rule, so that they may yet have any value."""
    wrong = {path for path, rule in faults if rule not in {"emv.scope", "emv.version"}}
    found = []
    for name in looked_at:
        outer, _, inner = name.partition(".")
        field = find(holder, outer)
        if field is not None:
            paths = {f"{prefix}{field.name}"}
            paths |= {f"{prefix}{field.name}.{get(made(field), inner).name}"} if inner else set()
            found += [name] if paths & wrong else []
    return found


def _choices(holder: Message, name: str, condition: str) -> Iterator[str | bool | None]:
    """The values that a condition names, one that it does not, and none at all."""
    yield None
    outer, _, inner = name.partition(".")
    field = find(holder, outer)
    if inner and field is not None:
        yield from list(_choices(made(field), inner, condition))[1:]
    elif field is not None and field.type == field.TYPE_BOOL:
        yield from (True, False)
    elif field is not None and field.enum_type is not None:
        yield from codes_of(field.enum_type).numbers
    elif f"{name} is" in condition:
        yield "01" if field is None else getattr(holder, field.name)
    else:
        yield from {*re.findall(r'[ "[](\w{1,4})[],"]', condition), "80"} - {"in"}


def _set(holder: Message, name: str, value: str | bool | None) -> None:  # noqa: FBT001 - a field's value
    outer, _, inner = name.partition(".")
    field = find(holder, outer)
    if field is None:
        return  # told to the check, not in the message
    if inner:
        _set(getattr(holder, field.name), inner, value)
    elif value is None:
        holder.ClearField(field.name)
    else:
        put(holder, field, value)


def _python(condition: str, values: dict[str, Any]) -> bool:
    """Evaluate a condition in another way than the gateway does: as Python."""
    text = re.sub(r"\[([^]]*)\]", lambda match: str(tuple(re.split(r", ", match[1]))), condition)
    text = text.replace("is not empty", "is not None").replace("is empty", "is None").replace("is true", "is True")
    text = re.sub(r"\b([a-zA-Z][\w.]*)(?= (==|!=|in|is)\b)|\b([a-zA-Z][\w.]*)(?= [=!]=)", r'v["\g<0>"]', text)
    return bool(eval(text, {"__builtins__": {}}, {"v": values}))  # noqa: S307 - the tables are ours


def test_every_row_with_a_field_in_the_contract_is_walked() -> None:
    walked = {
        (name if holder is message else holder.DESCRIPTOR.name, row)
        for name in CONTRACT
        for version, channel, category in _SCENES
        for message, holder, row, _ in _places(name, version, channel, category)
    }
    rows = {(rules.name, row) for rules in [*map(table, CONTRACT), *objects().values()] for row in rules.rows}
    assert {(name, row.name) for name, row in rows - walked if row.name != "messageType"} == set()


@pytest.mark.parametrize("name", sorted(set(MESSAGES) - set(CONTRACT)))
def test_a_table_without_a_message_in_the_contract_takes_good_values_and_refuses_bad_ones(name: str) -> None:
    rules = table(name)
    for row in rules.rows:
        if row.type != "string":
            continue
        requirements = text_requirements(row, ascii_only=rules.ascii)
        assert all(requirement.met_by(good_text(row)) for requirement in requirements)
        for text, rule in bad_texts(row, ascii_only=rules.ascii):
            assert rule in {requirement.rule for requirement in requirements if not requirement.met_by(text)}


def _violations(areq: areq_pb2.AReq) -> set[tuple[str, str]]:
    return {(violation.field, violation.rule) for violation in check_request(areq, path="r")}


def test_an_areq_names_its_own_version_channel_and_category() -> None:
    everywhere = {"acct_number", "three_ds_requestor_url"}
    assert _violations(areq_pb2.AReq()) == {(f"r.{name}", "emv.required") for name in {*_SELECTORS} | everywhere}
    assert check_request(good_areq("2.2.0", "03", "02")) == []


@pytest.mark.parametrize("missing", [*map(set, combinations(_SELECTORS, 1)), *map(set, combinations(_SELECTORS, 2))])
@pytest.mark.parametrize("channel", CHANNELS)
def test_what_breaks_the_rules_of_every_version_channel_and_category_is_named_without_them(
    channel: str, missing: set[str]
) -> None:
    areq: Any = good_areq("2.2.0", channel, "01")
    areq.acct_number = "1"
    areq.three_ri_ind = "03"
    areq.browser_ip = "1"
    areq.three_ds_requestor_authentication_ind = "77"
    for name in ("mcc", "three_ds_requestor_url", "browser_user_agent", "sdk_app_id", *missing):
        areq.ClearField(name)

    broken = []
    for numbers in product((1, 2, 3), repeat=len(missing)):
        chosen: Any = areq_pb2.AReq()
        chosen.CopyFrom(areq)
        for name, number in zip(missing, numbers, strict=True):
            setattr(chosen, name, number)
        broken.append({violation.field for violation in check_request(chosen)})
    missed = {f"areq.{name}" for name in missing}
    assert {violation.field for violation in check_request(areq)} == missed | set.intersection(*broken)


def test_every_rule_that_a_request_breaks_is_named_at_once() -> None:
    areq = good_areq()
    areq.acct_number = "1"
    areq.ClearField("mcc")
    areq.tax_id = "1"
    areq.home_phone.cc = "x"
    areq.message_extension[0].id = "x" * 65
    # What came beyond the contract has no place in a request.
    areq.message_extension[0].unrecognized.update({"a": 1})

    assert _violations(areq) == {
        ("r.acct_number", "emv.pattern"),
        ("r.mcc", "emv.required"),
        ("r.tax_id", "emv.version"),
        ("r.home_phone.cc", "emv.pattern"),
        ("r.message_extension[0].id", "emv.length"),
        ("r.message_extension[0].unrecognized", "emv.version"),
    }


def test_no_violation_holds_a_value() -> None:
    areq = good_areq("2.1.0")
    areq.acct_number = "4111-secret"
    areq.cardholder_name = "s\u00e9cret"
    areq.email = "secret"
    areq.card_security_code = "secret"
    areq.message_extension[0].data.update({"secret": "\u00e9"})

    violations = check_request(areq)

    assert len(violations) == 5
    assert "cret" not in str(violations)


@pytest.mark.parametrize(("channel", "missed"), [("01", False), ("02", True), ("03", False)])
def test_the_transaction_id_has_to_be_given_in_the_browser_channel_alone(channel: str, *, missed: bool) -> None:
    areq = good_areq("2.2.0", channel)
    areq.ClearField("three_ds_server_trans_id")

    assert bool(check_request(areq)) is missed


@pytest.mark.parametrize(("version", "allowed"), [("2.1.0", False), ("2.2.0", False), ("2.3.1", True)])
def test_a_name_beyond_ascii_is_for_2_3_1_alone_and_no_other_text_may_be(version: str, *, allowed: bool) -> None:
    areq = good_areq(version)
    areq.cardholder_name = "J\u00f8rgen \u00c5se"
    assert (check_request(areq) == []) is allowed

    areq.merchant_name = "Sm\u00f8rrebr\u00f8d"
    assert ("r.merchant_name", "emv.ascii") in _violations(areq)


def test_a_date_and_an_address_of_the_common_kind_are_taken() -> None:
    areq = good_areq()
    areq.purchase_date = "20170316141312"
    areq.browser_ip = "192.168.1.11"

    assert check_request(areq) == []


def test_mastercards_data_only_request_needs_none_of_a_payments_fields_but_may_have_them() -> None:
    areq = good_areq("2.2.0", "02", "80")
    assert areq.trans_type
    areq.ClearField("purchase_amount")

    assert check_request(areq) == []


@pytest.mark.parametrize("code", ["81", "99"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_category_of_a_ds_needs_what_every_category_needs_and_may_have_what_any_has(version: str, code: str) -> None:
    areq = good_areq(version)
    assert areq.trans_type
    areq.ClearField("message_category")
    areq.message_category_text = code
    assert check_request(areq) == []
    payment, other = (_needed(good_areq(version, "02", category)) for category in ("01", "02"))
    assert payment - other
    assert _needed(areq) == payment & other


def _needed(good: areq_pb2.AReq) -> set[str]:
    """The fields that are missed in a good request without one of its fields, its category aside."""
    found: set[str] = set()
    for field, _ in good.ListFields():
        if not field.name.startswith("message_category"):
            areq: Any = areq_pb2.AReq()
            areq.CopyFrom(good)
            areq.ClearField(field.name)
            found |= {path for path, _ in _violations(areq)}
    return found


@pytest.mark.parametrize("code", ["80", "99"])
def test_a_channel_of_a_ds_needs_what_every_channel_needs_and_may_have_what_any_has(code: str) -> None:
    for channel in CHANNELS:
        areq: Any = good_areq("2.2.0", channel)
        for name in ("device_channel", "three_ds_server_trans_id"):
            areq.ClearField(name)
        areq.device_channel_text = code
        assert check_request(areq) == []
    least: Any = areq_pb2.AReq(device_channel_text=code)
    least.message_version, least.message_category = 2, 2
    assert _violations(least) == {("r.acct_number", "emv.required"), ("r.three_ds_requestor_url", "emv.required")}


@pytest.mark.parametrize("code", ["01", "02", "80", "79", "8", "081", "8\u0661", "x"])
def test_a_text_beside_the_category_is_for_what_the_category_has_no_value_for(code: str) -> None:
    areq = good_areq()
    areq.ClearField("message_category")
    areq.message_category_text = code
    areq.acct_number = "1"

    found = {violation.field: violation.description for violation in check_request(areq)}

    assert found["areq.message_category_text"] == "must be a code from 81 to 99"
    assert set(found) == {"areq.message_category_text", "areq.acct_number"}


def test_a_code_is_given_once() -> None:
    areq = good_areq()
    areq.message_category_text = "81"
    areq.device_channel_text = "81"

    assert _violations(areq) == {("r.message_category_text", "emv.either"), ("r.device_channel_text", "emv.either")}


def test_what_hangs_on_a_wrong_or_missing_field_is_named_with_it() -> None:
    areq: Any = good_areq("2.2.0")
    areq.three_ds_requestor_authentication_ind = "3x"
    areq.three_ds_requestor_dec_req_ind = "yes"
    for name in (
        *("browser_javascript_enabled", "browser_tz", "three_ds_requestor_dec_max_time"),
        *("recurring_expiry", "recurring_frequency", "purchase_instal_data", "white_list_status"),
    ):
        areq.ClearField(name)

    assert _violations(areq) == {
        ("r.three_ds_requestor_authentication_ind", "emv.pattern"),
        ("r.three_ds_requestor_dec_req_ind", "emv.code"),
        *(
            (f"r.{name}", "emv.required")
            for name in (
                *("browser_javascript_enabled", "browser_tz", "three_ds_requestor_dec_max_time"),
                *("recurring_expiry", "recurring_frequency", "purchase_instal_data"),
            )
        ),
    }


def test_what_hangs_on_a_missing_field_of_an_object_is_named_through_every_step() -> None:
    areq: Any = good_areq("2.3.1")
    areq.three_ds_requestor_authentication_ind = "xx"
    for name in ("recurring_ind", "recurring_amount", "recurring_currency", "recurring_exponent", "recurring_date"):
        areq.ClearField(name)

    assert {(path, rule) for path, rule in _violations(areq) if rule == "emv.required"} == {
        (f"r.{name}", "emv.required")
        for name in ("recurring_ind", "recurring_amount", "recurring_currency", "recurring_exponent", "recurring_date")
    }


def test_what_hangs_on_a_field_that_must_be_absent_is_not_missed() -> None:
    areq = good_areq("2.1.0", "02")
    areq.white_list_status = "X"

    assert _violations(areq) == {("r.white_list_status", "emv.version")}


def test_a_number_that_no_version_has_is_no_version() -> None:
    areq = areq_pb2.AReq(message_version=99, device_channel=2, message_category=1)  # type: ignore[arg-type]

    assert ("r.message_version", "emv.code") in _violations(areq)


def test_a_request_with_thousands_of_wrong_items_is_not_checked_27_times() -> None:
    areq = areq_pb2.AReq(three_ds_requestor_challenge_ind=["\u00e9"] * 20_000)

    assert _violations(areq) == {(f"r.{name}", "emv.required") for name in _SELECTORS}


def test_descriptions_name_what_can_be_sent() -> None:
    areq = good_areq("2.2.0", "02", "01")
    areq.three_ds_comp_ind = 77  # type: ignore[assignment]
    areq.acct_number = "1"
    areq.acct_type = "77"
    areq.ClearField("message_category")
    areq.ClearField("three_ds_requestor_url")

    assert {violation.field: violation.description for violation in check_request(areq)} == {
        "areq.message_category": "is required: one of MESSAGE_CATEGORY_PAYMENT, MESSAGE_CATEGORY_NON_PAYMENT, "
        "MESSAGE_CATEGORY_IDENTITY_CHECK_INSIGHTS, a DS's own code in message_category_text",
        "areq.three_ds_comp_ind": "must be one of COMPLETION_INDICATOR_COMPLETED, COMPLETION_INDICATOR_NOT_COMPLETED, "
        "COMPLETION_INDICATOR_UNAVAILABLE",
        "areq.acct_number": "must be 13 to 19 digits",
        "areq.acct_type": "must be one of 01-03, 80-99",
        "areq.three_ds_requestor_url": "is required: an absolute http or https URL",
    }
    areq.ClearField("message_version")
    descriptions = {violation.field: violation.description for violation in check_request(areq)}
    assert descriptions["areq.three_ds_requestor_url"] == (
        "is required: an absolute http or https URL, or an absolute https URL"
    )
