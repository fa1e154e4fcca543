import json
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.threeds.codec import UnreadableError, UnwritableError, decode, encode, to_body
from gateway.formats.json_input import HugeNumber
from gateway.threeds.rules.codes import codes_of
from gateway.threeds.rules.formats import expand
from gateway.threeds.rules.tables import MESSAGES, VERSIONS, Row, objects, table
from issuer.threeds.v1 import areq_pb2, ares_pb2, objects_pb2
from tests.unit.threeds.threeds_examples import RESPONSES
from tests.unit.threeds.threeds_samples import CHANNELS, CONTRACT, find, get, good_message, put

_CASES = [(name, version) for name in CONTRACT for version in VERSIONS]

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_OBJECT = st.dictionaries(_TEXT, _JSON, max_size=3)


def _messages(name: str, version: str) -> st.SearchStrategy[Message]:
    """Messages with any of the fields that a version has, and anything in them: the codec does not judge values."""
    prototype: Message = CONTRACT[name]() if name in CONTRACT else getattr(objects_pb2, name)()
    rules = table(name) if name in MESSAGES else objects()[name]
    choices: dict[str, st.SearchStrategy[Any]] = {}
    for row in rules.fields(version).values():
        field = find(prototype, row.name)
        if field is not None:
            one = _values(field, row, version)
            choices[row.name] = st.lists(one, min_size=1, max_size=3) if row.array else one
    if find(prototype, "unrecognized") is not None:
        choices["unrecognized"] = st.dictionaries(_TEXT.map(lambda text: "?" + text), _JSON, min_size=1, max_size=2)

    def build(values: dict[str, Any]) -> Message:
        message = type(prototype)()
        for field_name, value in values.items():
            put(message, get(message, field_name), value)
        return message

    return st.fixed_dictionaries({}, optional=choices).map(build)


def _values(field: FieldDescriptor, row: Row, version: str) -> st.SearchStrategy[Any]:
    if row.type in objects():
        return _messages(row.type, version)
    if row.type == "bool":
        return st.booleans()
    if row.type == "json":
        return _OBJECT
    if field.enum_type is not None:
        return st.sampled_from(sorted(codes_of(field.enum_type).numbers))
    return _TEXT


@pytest.mark.parametrize(("name", "version"), _CASES)
def test_any_message_comes_back_from_json_as_it_was(name: str, version: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(_messages(name, version))
    def round_trip(message: Message) -> None:
        body = to_body(message, version)
        assert body.isascii()
        assert decode(CONTRACT[name], orjson.loads(body)) == message

    round_trip()


@pytest.mark.parametrize(("name", "version"), _CASES)
def test_json_with_every_field_is_written_as_the_version_has_it_and_comes_back_as_it_was(
    name: str, version: str
) -> None:
    def follows(plain: dict[str, Any], rows: dict[str, Row]) -> None:
        for field_name, value in plain.items():
            row = rows[field_name]
            assert isinstance(value, list) is row.array, row
            for item in value if row.array else [value]:
                if row.type in objects():
                    follows(item, objects()[row.type].fields(version))
                else:
                    assert isinstance(item, {"string": str, "bool": bool, "json": dict}[row.type]), row

    for channel in CHANNELS:
        plain = encode(good_message(name, version, channel), version)
        follows(plain, table(name).fields(version))
        assert encode(decode(CONTRACT[name], plain), version) == plain
        assert plain.pop("messageType") == name
        in_scope = {row.name for row in table(name).fields(version).values() if row.used_in(channel, "01")}
        assert set(plain) == in_scope - {"messageType"}


@pytest.mark.parametrize("name", CONTRACT)
def test_a_field_that_the_version_does_not_have_is_refused_and_never_left_out(name: str) -> None:
    for version in VERSIONS:
        known = table(name).fields(version)
        for row in table(name).rows:
            if row.name in known:
                continue
            full = CONTRACT[name]()
            for channel in CHANNELS:
                full.MergeFrom(good_message(name, row.versions[-1], channel))
            field = get(full, row.name)
            value = getattr(full, field.name)
            message = CONTRACT[name]()
            put(message, field, list(value) if field.is_repeated else value)
            with pytest.raises(UnwritableError, match=field.name):
                encode(message, version)


@pytest.mark.parametrize(("name", "code"), [("messageCategory", "81"), ("deviceChannel", "99")])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_code_of_a_ds_is_a_text_beside_the_enum_and_has_the_enums_name_in_json(
    version: str, name: str, code: str
) -> None:
    plain = {"messageType": "AReq", name: code}
    areq = decode(areq_pb2.AReq, plain)
    assert [(field.name, value) for field, value in areq.ListFields()] == [(f"{get(areq, name).name}_text", code)]
    assert orjson.loads(to_body(areq, version)) == plain
    with pytest.raises(UnreadableError):
        decode(areq_pb2.AReq, {name: 81})


@pytest.mark.parametrize("example", RESPONSES.values(), ids=RESPONSES)
def test_every_response_in_the_servers_documentation_is_read_and_written(example: dict[str, Any]) -> None:
    read = decode(CONTRACT[example["messageType"]], example)
    assert "unrecognized" not in str(read)
    assert encode(read, example.get("messageVersion", "2.3.1")) == example


def test_how_a_device_shows_a_challenge_has_a_field() -> None:
    rendering = {"acsInterface": "01", "acsUiTemplate": "01", "deviceUserInterfaceMode": "01"}
    ares = decode(ares_pb2.ARes, {"acsRenderingType": rendering})
    assert ares.acs_rendering_type.device_user_interface_mode == "01"
    assert encode(ares, "2.3.1")["acsRenderingType"] == rendering


def test_two_items_where_the_version_has_one_are_refused() -> None:
    areq = areq_pb2.AReq(three_ds_requestor_challenge_ind=["01", "02"])
    assert encode(areq, "2.3.1")["threeDSRequestorChallengeInd"] == ["01", "02"]
    with pytest.raises(UnwritableError, match="three_ds_requestor_challenge_ind"):
        encode(areq, "2.2.0")
    del areq.three_ds_requestor_challenge_ind[1:]
    assert encode(areq, "2.2.0")["threeDSRequestorChallengeInd"] == "01"


def test_the_cardholders_information_is_a_text_before_2_3_1_and_an_object_from_then_on() -> None:
    ares = decode(ares_pb2.ARes, {"cardholderInfo": "Call us"})
    assert ares.cardholder_info.text == "Call us"
    assert encode(ares, "2.2.0")["cardholderInfo"] == "Call us"
    assert encode(ares, "2.3.1")["cardholderInfo"] == {"text": "Call us"}
    ares.cardholder_info.issuer_image = "https://issuer.example.org"
    with pytest.raises(UnwritableError, match="cardholder_info"):
        encode(ares, "2.2.0")


def test_false_is_written_and_absent_is_not() -> None:
    assert encode(areq_pb2.AReq(browser_java_enabled=False), "2.2.0")["browserJavaEnabled"] is False
    assert "browserJavaEnabled" not in encode(areq_pb2.AReq(), "2.2.0")
    assert decode(areq_pb2.AReq, {"browserJavaEnabled": False}).HasField("browser_java_enabled")


def test_an_empty_text_or_list_and_null_mean_absent() -> None:
    assert decode(ares_pb2.ARes, {"eci": "", "authenticationMethod": []}) == ares_pb2.ARes()
    assert decode(ares_pb2.ARes, {"eci": None, "authenticationMethod": None, "broadInfo": None}) == ares_pb2.ARes()
    assert decode(areq_pb2.AReq, {"homePhone": {"cc": "1", "subscriber": None}}).home_phone.cc == "1"


def test_a_number_that_a_double_cannot_hold_is_kept_as_text() -> None:
    numbers = {"acquirerReference": 74999999999999999999991, "factor": HugeNumber("1e999"), "count": 2**53}
    ares = decode(ares_pb2.ARes, {"later": [numbers]})
    assert encode(ares, "2.3.1")["later"] == [
        {"acquirerReference": "74999999999999999999991", "factor": "1e999", "count": 2.0**53}
    ]


@pytest.mark.parametrize(
    "plain",
    [
        {"transStatus": "Z"},
        {"messageVersion": "2.4.0"},
        {"acsDecConInd": True},
        {"eci": 5},
        {"newField": {"deep": [1, 2.5, None, "x"]}},
        {"acsRenderingType": "native"},
        {"acsRenderingType": {"acsInterface": "01", "newField": "x"}},
        {"authenticationMethod": ["01", 2]},
        {"messageExtension": [{"id": "a", "name": "b", "criticalityIndicator": "false", "data": "text"}]},
        {"broadInfo": {"recipients": ["01", {}]}},
        {"threeDSServerTransID": ["x"]},
        {"spcTransData": {"psImageSpc": {"default": 1}}},
    ],
)
def test_what_an_answer_holds_beyond_the_contract_is_kept_as_it_came(plain: dict[str, Any]) -> None:
    ares = decode(ares_pb2.ARes, {"messageType": "ARes", **plain})
    assert encode(ares, "2.3.1") == {"messageType": "ARes", **plain}


def test_an_unknown_code_or_message_type_stands_beside_the_fields_as_text() -> None:
    ares = decode(ares_pb2.ARes, {"messageType": "XRes", "transStatus": "Z"})
    assert not ares.trans_status
    assert dict(ares.unrecognized) == {"messageType": "XRes", "transStatus": "Z"}


@given(plain=st.dictionaries(st.sampled_from(sorted(table("ARes").fields("2.3.1"))) | _TEXT, _JSON, max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_json_object_makes_reading_an_answer_fail(plain: dict[str, Any]) -> None:
    again = encode(decode(ares_pb2.ARes, plain), "2.3.1")
    for name, value in plain.items():
        assert name in again or value in ("", [], None)


def test_an_areq_with_more_than_the_contract_has_cannot_be_read() -> None:
    for plain in ({"newField": "x"}, {"mcc": 5411}, {"homePhone": {"cc": "1", "extension": "2"}}):
        with pytest.raises(UnreadableError) as raised:
            decode(areq_pb2.AReq, plain)
        assert "5411" not in str(raised.value)


def test_an_enum_value_without_a_code_cannot_be_written() -> None:
    with pytest.raises(UnwritableError, match="device_channel"):
        encode(areq_pb2.AReq(device_channel=99), "2.2.0")  # type: ignore[arg-type]


def test_a_body_is_ascii_and_says_the_same_all_the_same() -> None:
    body = to_body(areq_pb2.AReq(cardholder_name="Jørgen 😀"), "2.3.1")
    assert body.isascii()
    assert json.loads(body)["cardholderName"] == "Jørgen 😀"


@pytest.mark.parametrize("name", CONTRACT)
def test_every_code_of_every_enum_is_written_and_read(name: str) -> None:
    message = CONTRACT[name]()
    for row in table(name).fields("2.3.1").values():
        field = find(message, row.name)
        if field is None or field.enum_type is None:
            continue
        for code, number in codes_of(field.enum_type).numbers.items():
            one = CONTRACT[name](**{field.name: number})
            assert encode(one, "2.3.1")[row.name] == code
            assert decode(CONTRACT[name], {row.name: code}) == one


def test_ranges_of_codes_are_taken_apart() -> None:
    assert list(expand(["01", "78-80", "Y", "a-b"])) == ["01", "78", "79", "80", "Y", "a-b"]
