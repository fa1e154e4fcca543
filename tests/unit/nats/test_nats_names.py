import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.nats.event_log.envelope import CHECKSUM, STATE, headers_of, pack, unpack
from adapters.nats.jetstream.streams import Names, token
from adapters.nats.key_value_store import NatsKeyValueStore
from gateway.ports import Event, Scope
from tests.fakes import an_event
from tests.unit.nats.fake_bucket import FakeBucket

texts = st.text(max_size=300) | st.text(st.characters(codec="ascii"), max_size=80)
numbers = st.integers(-(2**31), 2**31 - 1)
events = st.builds(
    Event,
    issuer_id=texts,
    kind=st.integers(0, 9),
    subject_id=texts,
    operation_id=texts,
    consumer_id=texts,
    operation_type=numbers,
    status=numbers,
    receive_time_ms=st.integers(-(2**63), 2**63 - 1),
    payload=st.binary(max_size=300),
    state=texts,
)


@given(text=texts)
@example(text="x" * 65)
@example(text="\ud800")
def test_a_token_has_nothing_in_it_that_nats_gives_a_meaning(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=#-]{1,200}", token(text))


@given(one=texts, other=texts)
@example(one="YQ", other="a")
@example(one="=YQ", other="a ")
@example(one="x" * 5000, other="x" * 5001)
def test_different_texts_are_different_tokens(one: str, other: str) -> None:
    assert (token(one) == token(other)) is (one == other)


@pytest.mark.parametrize("text", ["SANDBOX001", "card-1_A", "5e1c8f3e-2f0c-4a3e-9c51-6d3f6a0f3d8e"])
def test_an_ordinary_id_is_its_own_token(text: str) -> None:
    assert token(text) == text


def test_the_subject_of_an_event_names_its_operation_and_not_its_state() -> None:
    event = Event("ISSUER0001", 1, "card.1", "operation-1", "consumer-1", 2, 3, 4, b"payload")
    names = Names("test")

    assert names.event(event) == "test.event.ISSUER0001.1.=Y2FyZC4x.operation-1"
    assert names.event(event._replace(consumer_id="", status=9, payload=b"", state="x")) == names.event(event)


def test_the_pattern_of_a_scope_has_its_parts_in_their_places() -> None:
    names = Names("test")

    assert names.scope(Scope("ISSUER0001")) == "test.event.ISSUER0001.*.*.*"
    assert names.scope(Scope("ISSUER0001", 2)) == "test.event.ISSUER0001.2.*.*"
    assert names.scope(Scope("ISSUER0001", 1, "card.1")) == "test.event.ISSUER0001.1.=Y2FyZC4x.*"


@given(event=events)
def test_an_event_is_unpacked_as_it_was_packed(event: Event) -> None:
    packed = pack(event)

    assert unpack(packed, headers_of(event, packed)) == event
    # Those of gateways of earlier versions have no headers.
    assert unpack(packed, {}) == event._replace(state="")
    assert packed.endswith(event.payload)


@given(event=events, place=st.integers(0), bits=st.integers(1, 255))
def test_an_event_with_a_changed_byte_or_header_is_rejected(event: Event, place: int, bits: int) -> None:
    packed = bytearray(pack(event))
    headers = headers_of(event, bytes(packed))
    packed[place % len(packed)] ^= bits

    with pytest.raises(ValueError):  # noqa: PT011  its text depends on what was changed
        unpack(bytes(packed), headers)
    with pytest.raises(ValueError, match="checksum"):
        unpack(pack(event), headers | {CHECKSUM: "1"})


@pytest.mark.parametrize("content", [b"", b"\x01", b"{}", b"\x02" + bytes(100)])
def test_content_that_is_not_an_event_is_rejected(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an event"):
        unpack(content, {})


@pytest.mark.parametrize("header", ["x", "_w=="])
def test_a_state_that_no_gateway_wrote_is_rejected(header: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  its text is that of Python's decoders
        unpack(pack(an_event(1)), {STATE: header})


async def test_keys_without_dots_between_plain_tokens_are_stored_as_earlier_versions_did() -> None:
    bucket = FakeBucket()
    store = NatsKeyValueStore(bucket)
    earlier = ("idempotency-key-id", "readiness", "idempotency/0a1b", "results/ISSUER0001/c.1/a.2", "log-copy/a/b", ".")
    for key in (*earlier, "a.b", "a.b.", "a.=b", f"{'x' * 64}.y", f"{'x' * 65}.y", ".".join("x" * 101)):
        await store.put(key, b"", 60)

    as_before = {token(key) for key in (*earlier, "a.b.", "a.=b", f"{'x' * 65}.y", ".".join("x" * 101))}
    assert bucket.held.keys() == as_before | {"a.b", f"{'x' * 64}.y"}
