import json
import re
from typing import Any, NoReturn

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.json_input import MAX_LEVELS, HugeNumber, InvalidJsonError, read_object, struct_of

_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXTS = st.text(st.characters() | st.sampled_from("\ud83d\ude00\ud800\udfff\\u\"'"), max_size=6)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(_TEXTS, _VALUES, max_size=5)


def without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value)
        case list():
            return [without_surrogates(item) for item in value]
        case dict():
            return {without_surrogates(name): without_surrogates(item) for name, item in value.items()}
        case _:
            return value


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def in_the_oracle(data: bytes) -> Any:
    """Read as the standard library does, strictly; None if it refuses."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=refuse)
    except ValueError:
        return None


def in_the_reader(data: bytes) -> dict[str, Any] | None:
    try:
        return read_object(data)
    except InvalidJsonError:
        return None


@given(source=_OBJECTS, indent=st.sampled_from([None, 1]), mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_an_object_is_read_as_the_standard_library_reads_it(
    source: dict[str, Any], indent: int | None, mark: bytes
) -> None:
    data = mark + json.dumps(source, indent=indent).encode()

    # Compared as texts: to Python 1, 1.0 and True are equal.
    assert json.dumps(read_object(data)) == json.dumps(without_surrogates(in_the_oracle(data)))


@given(
    source=_OBJECTS, place=st.integers(0), removed=st.integers(0, 2), put=st.sampled_from('{}[]",:\\u09-.eENatf \n\x00')
)
def test_what_the_standard_library_refuses_is_refused_and_nothing_else(
    source: dict[str, Any], place: int, removed: int, put: str
) -> None:
    text = json.dumps(source)
    cut = place % (len(text) + 1)
    data = (text[:cut] + put + text[cut + removed :]).encode()

    assert (in_the_reader(data) is not None) == isinstance(in_the_oracle(data), dict)


@pytest.mark.parametrize(
    ("written", "read", "kept"),
    [
        ("9007199254740992", 2**53, 2.0**53),
        ("9007199254740993", 2**53 + 1, "9007199254740993"),
        ("18446744073709551615", 2**64 - 1, "18446744073709551615"),
        ("18446744073709551616", 2**64, "18446744073709551616"),
        ("-9223372036854775809", -(2**63) - 1, "-9223372036854775809"),
        ("74999999999999999999991", 74999999999999999999991, "74999999999999999999991"),
        ("7" * 400, int("7" * 400), "7" * 400),
        ("7" * 5000, HugeNumber("7" * 5000), "7" * 5000),
        ("-1e999", HugeNumber("-1e999"), "-1e999"),
        ("1E+99999999999999999999", HugeNumber("1E+99999999999999999999"), "1E+99999999999999999999"),
        ("1e-999", 0.0, 0.0),
        ("1e22", 1e22, 1e22),
    ],
)
def test_a_number_keeps_its_digits_if_need_be_as_text(written: str, read: object, kept: object) -> None:
    value = read_object(f'{{"later":[{{"number":{written}}}]}}'.encode())

    assert value == {"later": [{"number": read}]}
    assert json_format.MessageToDict(struct_of(value)) == {"later": [{"number": kept}]}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"Caf\ud83d", "Caf\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"\uDE00\uD83D", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (r"\\\ud83d", "\\\ufffd"),
    ],
)
def test_half_of_a_surrogate_pair_becomes_a_replacement_character(written: str, read: str) -> None:
    assert read_object(f'{{"{written}":"{written}"}}'.encode()) == {read: read}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\xbd"}',
        b'{"a":"\t"}',
        *(b'{"a":%s}' % constant for constant in (b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b"+1", b"0x1")),
        # The slower way does not take more.
        *(b'{"n":1e999,"a":%s}' % constant for constant in (b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b'"\t"')),
    ],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidJsonError, match=r"^is not JSON$"):
        read_object(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"text"', b"1e999", b"1" * 30])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidJsonError, match=r"^must be a JSON object$"):
        read_object(data)


def test_of_a_name_that_occurs_twice_the_last_counts_either_way() -> None:
    assert read_object(b'{"a":1,"a":2}') == {"a": 2}
    assert read_object(b'{"a":1e999,"a":2}') == {"a": 2}


@pytest.mark.parametrize("innermost", ["1", "1e999"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_an_object_may_nest_to_the_limit(innermost: str, opening: str, closing: str) -> None:
    def nested(levels: int) -> bytes:
        return ('{"a":' + opening * (levels - 1) + innermost + closing * (levels - 1) + "}").encode()

    value = read_object(nested(MAX_LEVELS))

    struct = struct_of(value)
    assert type(struct).FromString(struct.SerializeToString()) == struct
    for levels in (MAX_LEVELS + 1, 500, 100_000):
        with pytest.raises(InvalidJsonError, match=f"^nests deeper than {MAX_LEVELS} levels$"):
            read_object(nested(levels))


def test_brackets_in_a_text_do_not_nest() -> None:
    assert read_object(b'{"a":"' + b"[{" * 100 + b'"}') == {"a": "[{" * 100}
