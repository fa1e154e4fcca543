"""Messages with a good value in every field, and bad values for each rule: made from the tables' rows."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from google.protobuf import message_factory, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.threeds.rules.codes import codes_of
from gateway.threeds.rules.formats import expand
from gateway.threeds.rules.tables import Row, Table, objects, table
from issuer.threeds.v1 import areq_pb2, ares_pb2, crd_pb2, erro_pb2, rreq_pb2

CHANNELS = ("01", "02", "03")
CATEGORIES = ("01", "02", "80")
CONTRACT: dict[str, type[Message]] = {
    "AReq": areq_pb2.AReq,
    "ARes": ares_pb2.ARes,
    "CRD": crd_pb2.CRD,
    "Erro": erro_pb2.Erro,
    "RReq": rreq_pb2.RReq,
}

_GOOD_FORMATS = {
    "uuid": "d461f105-1792-407f-95ff-9a496fd918a9",
    "yymm": "3012",
    "yyyymmdd": "20280229",
    "yyyymmddhhmm": "202802292359",
    "yyyymmddhhmmss": "20280229235959",
    "url": "https://3ds_callback.example.org/challenge/end?a=b#c",
    "urlHttps": "https://requestor.example.org",
    "urlOrDataUrl": "data:image/png;base64,AAAA",
    "ip": "2001:db8::1",
    "email": "holder@example.org",
    "countryCode": "208",
    "currency": "978",
    "currencyAlphabetic": "EUR",
    "iso3166-2": "CO",
    "validVersion": "2.2.0",
    "base64url": "A-_z" * 11,
}
_BAD_FORMATS = {
    "uuid": ["d461f105-1792-407f-95ff-9a496fd918a", "d461f10517924-07f-95ff-9a496fd918a9", "x" * 36],
    "yymm": ["3013", "3000", "301", "\uff11\uff12\uff13\uff14"],
    "yyyymmdd": ["20270229", "20281301", "20280100", "2028 101", "202801011"],
    "yyyymmddhhmm": ["202802292400", "202802292360", "20280229235"],
    "yyyymmddhhmmss": ["20280229235960", "2028022923595", "2028-02-29T23:59"],
    "url": ["requestor.example.org", "https://", "ftp://example.org", "https://a b.example.org", "https://é.example"],
    "urlHttps": ["http://requestor.example.org", "https:/requestor.example.org", "https://example.org\n"],
    "urlOrDataUrl": ["http://example.org", "picture"],
    "ip": ["300.1.1.1", "1.2.3", "fe80::1%eth0", "example.org"],
    "email": ["holder", "@example.org", "a b@example.org", "hölder@example.org"],
    "countryCode": ["901", "999", "20", "DNK"],
    "currency": ["955", "964", "999", "EUR", "97"],
    "currencyAlphabetic": ["978", "eur"],
    "iso3166-2": ["US-CO", "ABCD"],
    "validVersion": ["2.2", "2.2.x"],
    "base64url": ["+/+/" * 11, "===="],
}
_GOOD_PATTERNS = {
    "^[0-9]{13,19}$": "9000100511111111",
    "^[0-9]{1,4}$": "12",
    "^[0-9]{1,3}$": "12",
    "^[0-9]{1,6}$": "1080",
    "^[0-9]{1,12}$": "123456789",
    "^[0-9]{0,15}$": "100",
    "^[0-9]{0,48}$": "10100",
    "^[0-9]{0,4}$": "31",
    "^[0-9]{2}$": "01",
    "^[0-9]{3}$": "208",
    "^[0-9]{3,4}$": "123",
    "^[0-9]$": "2",
    "^[+-]?[0-9]{1,4}$": "-120",
    "^[A-Za-z0-9]{1,3}$": "CO",
    "^[a-zA-Z0-9+/]{26,28}={0,2}$": "AAABBBCCCDDDEEEFFFGGGHHHIII=",
    r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$": "eyJh.eyJi.c2ln",
}


def good_text(row: Row) -> str:
    """Return a text that follows a row."""
    if row.codes:
        return next(expand(row.codes))
    if row.pattern:
        return _GOOD_PATTERNS.get(row.pattern) or "01"
    if row.format:
        return _GOOD_FORMATS[row.format]
    if row.range:
        return str(row.range[1])
    return "x" * (1 if row.array else max(row.min, 1))


def bad_texts(row: Row, *, ascii_only: bool) -> Iterator[tuple[str, str]]:
    """Return texts that break a row, each with the id of the rule that it breaks."""
    if row.codes:
        yield "??", "emv.code"
    if "80-99" in row.codes and "79" not in row.codes:
        yield "79", "emv.code"
    if row.pattern:
        yield from ((text, "emv.pattern") for text in ("??", good_text(row) + "\n", "\u0663"))
    yield from ((text, f"emv.format.{row.format}") for text in _BAD_FORMATS.get(row.format, []))
    if row.range:
        least, greatest = row.range
        yield from ((text, "emv.range") for text in (str(greatest + 1), "9" * 5000, "x", "-1"))
        if least:
            yield str(least - 1), "emv.range"
    if not row.array:
        if row.max is not None:
            yield "1" * (row.max + 1), "emv.length"
        if row.min > 1:
            yield "1" * (row.min - 1), "emv.length"
    if ascii_only and not (row.codes or row.pattern or row.format or row.range or row.utf8):
        yield "é" * max(row.min, 1), "emv.ascii"


def good_areq(version: str = "2.2.0", channel: str = "02", category: str = "01") -> areq_pb2.AReq:
    """Make an AReq with a good value in every field."""
    areq = good_message("AReq", version, channel, category)
    assert isinstance(areq, areq_pb2.AReq)
    return areq


def good_message(name: str, version: str, channel: str = "02", category: str = "01") -> Message:
    """Make a message of the contract with a good value in every field."""
    message = CONTRACT[name]()
    message.CopyFrom(_good_original(name, version, channel, category))
    return message


@cache
def _good_original(name: str, version: str, channel: str, category: str) -> Message:
    message = CONTRACT[name]()
    fill(message, table(name), version, channel, category)
    return message


def fill(message: Message, rules: Table, version: str, channel: str = "02", category: str = "01") -> None:
    """Set every field that a version, channel and category have."""
    for row in rules.fields(version).values():
        if row.used_in(channel, category) and (field := find(message, row.name)):
            put(message, field, _good(field, row, version, channel, category))


def find(message: Message, name: str) -> FieldDescriptor | None:
    """Return a field by its JSON name; None for one that the contract leaves to the gateway."""
    fields: Sequence[Any] = message.DESCRIPTOR.fields
    return next((field for field in fields if field.json_name == name), None)


def get(message: Message, name: str) -> FieldDescriptor:
    """Return a field by its JSON name."""
    field = find(message, name)
    assert field is not None, name
    return field


def made(field: FieldDescriptor, **values: Any) -> Message:
    """Make a message of the kind that a field holds."""
    assert field.message_type is not None
    message: Message = message_factory.GetMessageClass(field.message_type)(**values)
    return message


def kind(field: FieldDescriptor) -> str:
    """Name the kind of message that a field holds; empty if it holds none."""
    return "" if field.message_type is None else field.message_type.name


def put(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Set a field, whatever its kind. A text for a list or an enum stands for the item or the code."""
    message.ClearField(field.name)
    if field.is_repeated:
        getattr(message, field.name).extend(value if isinstance(value, list) else [value])
    elif field.message_type is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        target.CopyFrom(_as_message(field, value))
    elif field.enum_type is not None and isinstance(value, str):
        setattr(message, field.name, codes_of(field.enum_type).numbers.get(value, 99))
    else:
        setattr(message, field.name, value)


def _as_message(field: FieldDescriptor, value: Any) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, dict):
        struct = struct_pb2.Struct()
        struct.update(value)
        return struct if kind(field) == "Struct" else struct_pb2.Value(struct_value=struct)
    return struct_pb2.Value(string_value=value) if kind(field) == "Value" else made(field, text=value)


def _good(field: FieldDescriptor, row: Row, version: str, channel: str, category: str) -> Any:
    nested = objects().get(row.type)
    if nested is not None:
        inner = made(field)
        fill(inner, nested, version, channel, category)
        return inner
    if row.type == "json":
        return {"kty": "EC", "n": 1.5, "deep": {"list": [True, None, "a"]}}
    if row.type == "bool":
        return True
    scene = {"messageVersion": version, "deviceChannel": channel, "messageCategory": category}
    return scene.get(row.name) or good_text(row)
