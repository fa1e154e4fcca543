import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from adapters.d1.callbacks.fields import FieldError, Fields, parse_time
from gateway.formats.json_input import read_object

FORM = re.compile(r"[a-z]{1,5}")
SECRET = "4111111111111111"

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


def kept(value: struct_pb2.Value) -> Any:
    """Read back what a Value holds; an empty Value reads as its own kind of nothing."""
    match value.WhichOneof("kind"):
        case "null_value":
            return None
        case "list_value":
            return [kept(item) for item in value.list_value.values]
        case "struct_value":
            return {name: kept(item) for name, item in value.struct_value.fields.items()}
        case None:
            return "NOTHING IS SET"
        case kind:
            return getattr(value, kind)


def as_kept(source: Any) -> Any:
    """Tell how a JSON value is kept: a whole number that a double cannot hold, as text."""
    match source:
        case bool():
            return source
        case int() if abs(source) > 2**53:
            return str(source)
        case list():
            return [as_kept(item) for item in source]
        case dict():
            return {name: as_kept(item) for name, item in source.items()}
        case _:
            return source


def left(fields: Fields) -> dict[str, Any]:
    """Tell what was not taken, as a receiver reads it."""
    struct = struct_pb2.Struct()
    fields.rest_into(struct)
    received = struct_pb2.Struct.FromString(struct.SerializeToString())
    return {name: kept(value) for name, value in received.fields.items()}


TAKE: dict[str, Callable[[Fields], object]] = {
    "text": lambda fields: fields.fitting_text("text", max_length=5),
    "required text": lambda fields: fields.fitting_text("text", max_length=5, required=True),
    "id": lambda fields: fields.fitting_identifier("id", FORM),
    "required id": lambda fields: fields.fitting_identifier("id", FORM, required=True),
    "object": lambda fields: fields.fitting_nested("object"),
}


@pytest.mark.parametrize("given", [{}, {"text": None, "id": None, "object": None}])
@pytest.mark.parametrize("what", [what for what in TAKE if not what.startswith("required")])
def test_what_may_be_missing_is_empty_or_none(what: str, given: dict[str, Any]) -> None:
    name = what.rpartition(" ")[2]
    fields = Fields({each: value for each, value in given.items() if each == name})

    assert TAKE[what](fields) == (None if name == "object" else "")
    assert not fields
    assert fields.misfits == []


@pytest.mark.parametrize("given", [{}, {"text": None, "id": None}])
@pytest.mark.parametrize("what", ["required text", "required id"])
def test_what_is_required_but_missing_is_a_misfit(what: str, given: dict[str, Any]) -> None:
    name = what.rpartition(" ")[2]
    fields = Fields({each: value for each, value in given.items() if each == name})

    assert TAKE[what](fields) == ""
    assert not fields
    assert fields.misfits == [name]


@pytest.mark.parametrize(("what", "given"), [("text", ""), ("text", "abc"), ("required text", "abc"), ("id", "abc")])
def test_a_text_is_taken_if_it_fits(what: str, given: str) -> None:
    fields = Fields({what.rpartition(" ")[2]: given})

    assert TAKE[what](fields) == given
    assert not fields
    assert fields.misfits == []


def test_an_empty_id_is_a_misfit_of_which_nothing_is_left_to_keep() -> None:
    fields = Fields({"id": ""})

    assert TAKE["id"](fields) == ""
    assert not fields
    assert fields.misfits == ["id"]


@pytest.mark.parametrize("text", ["", "abc"])
def test_an_object_is_taken_even_an_empty_one(text: str) -> None:
    fields = Fields({"object": {"text": text} if text else {}})

    nested = fields.fitting_nested("object")

    assert nested is not None
    assert nested.fitting_text("text", max_length=5) == text
    assert not nested
    assert not fields


NO_TEXTS: tuple[Any, ...] = (5, 5.5, True, [], {}, [SECRET], {SECRET: SECRET})


@pytest.mark.parametrize(
    ("what", "other"),
    [
        *(("text", other) for other in ("toolong", 0, False, *NO_TEXTS)),
        *(("required text", other) for other in ("", "toolong", *NO_TEXTS)),
        *((what, other) for what in ("id", "required id") for other in ("ABC", "abc\n", " abc", "toolong", *NO_TEXTS)),
        *(("object", other) for other in ("x", 5, True, [], [SECRET])),
    ],
)
def test_what_does_not_fit_is_left_and_named_without_its_value(what: str, other: Any) -> None:
    name = what.rpartition(" ")[2]
    fields = Fields({name: other})

    assert TAKE[what](fields) == (None if what == "object" else "")
    assert left(fields) == {name: other}
    assert fields.misfits == [name]


@pytest.mark.parametrize(
    ("given", "taken", "rest", "misfits"),
    [
        ({}, "", {}, []),
        ({"a": "1"}, "1", {}, []),
        ({"b": "2"}, "2", {}, []),
        ({"a": None, "b": "", "c": "3"}, "3", {}, []),
        ({"a": "1", "b": "2", "c": "1"}, "1", {"b": "2", "c": "1"}, []),
        ({"a": 1, "b": "2"}, "2", {"a": 1}, ["a"]),
        ({"a": "toolong", "b": [2]}, "", {"a": "toolong", "b": [2]}, ["a", "b"]),
    ],
)
def test_of_a_value_with_several_names_the_first_text_is_taken_and_the_others_are_left(
    given: dict[str, Any], taken: str, rest: dict[str, Any], misfits: list[str]
) -> None:
    fields = Fields(given)

    assert fields.first_fitting_text("a", "b", "c", max_length=5) == taken
    assert left(fields) == rest
    assert fields.misfits == misfits


@pytest.mark.parametrize(
    ("given", "taken"), [("0", "0"), ("007", "007"), (0, "0"), (1999, "1999"), (2**80, str(2**80)), (-5, "-5")]
)
def test_digits_are_taken_from_a_text_or_a_whole_number(given: Any, taken: str) -> None:
    fields = Fields(read_object(orjson.dumps({"n": given}) if given != 2**80 else b'{"n": %d}' % given))

    assert fields.fitting_digits("n", max_length=25) == taken
    assert not fields
    assert fields.misfits == []


@pytest.mark.parametrize("other", [1.5, 2.0, 123456, True, False, [], {}, [SECRET], "toolong"])
def test_what_is_neither_text_nor_a_whole_number_is_left(other: Any) -> None:
    fields = Fields({"n": other})

    assert fields.fitting_digits("n", max_length=5) == ""
    assert left(fields) == {"n": other}
    assert fields.misfits == ["n"]


@pytest.mark.parametrize("wrong", [..., None, "", "toolong", *NO_TEXTS])
def test_a_text_that_nothing_can_be_done_without_is_refused_by_its_path_and_without_its_value(wrong: Any) -> None:
    nested = Fields({"otp": {} if wrong is ... else {"value": wrong}}).fitting_nested("otp")
    assert nested is not None

    with pytest.raises(FieldError, match=r"^otp\.value must be a string of 1 to 5 characters$"):
        nested.text("value", max_length=5)


def test_a_misfit_in_a_nested_object_is_named_by_its_path() -> None:
    fields = Fields({"details": {"deep": {"text": 5}}})
    details = fields.fitting_nested("details")
    assert details is not None
    deep = details.fitting_nested("deep")
    assert deep is not None

    assert deep.fitting_text("text", max_length=5) == ""

    assert fields.misfits == ["details.deep.text"]


@given(st.dictionaries(st.text(max_size=6), values, max_size=5))
def test_unknown_fields_are_kept_exactly_as_they_came(source: dict[str, Any]) -> None:
    assert left(Fields(orjson.loads(orjson.dumps(source)))) == as_kept(source)


@pytest.mark.parametrize(
    ("empty", "kind"),
    [
        (None, "null_value"),
        (False, "bool_value"),
        (0, "number_value"),
        ("", "string_value"),
        ([], "list_value"),
        ({}, "struct_value"),
        ([[]], "list_value"),
        ({"a": {}}, "struct_value"),
    ],
)
def test_what_is_empty_is_kept_as_what_it_is(empty: Any, kind: str) -> None:
    struct = struct_pb2.Struct()

    Fields({"field": empty}).rest_into(struct)

    received = struct_pb2.Struct.FromString(struct.SerializeToString())
    assert kept(received.fields["field"]) == empty
    assert received.fields["field"].WhichOneof("kind") == kind


def _as_json(time: tuple[int, int] | None) -> str:
    assert time is not None
    return Timestamp(seconds=time[0], nanos=time[1]).ToJsonString()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-06-16T06:28:02Z", "2022-06-16T06:28:02Z"),
        ("2022-06-16T06:28:02.492Z", "2022-06-16T06:28:02.492Z"),
        ("2022-06-16T06:28:02.1234567Z", "2022-06-16T06:28:02.123456Z"),
        ("2022-06-16T08:28:02+02:00", "2022-06-16T06:28:02Z"),
        ("2022-06-16T01:28:02.5-0500", "2022-06-16T06:28:02.500Z"),
        ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.900Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_time_with_its_zone_is_read(text: str, expected: str) -> None:
    assert _as_json(parse_time(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2022-06-16T06:28:02",
        "2022-06-16",
        "2022-13-16T06:28:02Z",
        "2022-06-16T06:28:02+25:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "1655360882",
        "2022-06-16T06:28:02Z\n",
    ],
)
def test_what_is_no_time_with_a_zone_is_none(text: str) -> None:
    assert parse_time(text) is None


@given(
    st.text(max_size=64) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,12}(Z|[+-][0-9:]{2,8})", fullmatch=True)
)
def test_whatever_the_text_a_time_is_one_that_every_reader_takes(text: str) -> None:
    read = parse_time(text)

    if read is not None:
        assert parse_time(_as_json(read)) == read
