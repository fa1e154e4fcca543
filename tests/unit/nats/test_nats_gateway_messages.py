"""What gateways say to each other, as bytes."""

import struct
from contextlib import suppress
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.nats.callbacks.codec import UnreadableError, decode, encode
from gateway.callbacks.cluster.messages import (
    Asked,
    Declined,
    HasRoom,
    Message,
    Offer,
    Presence,
    Replied,
    Settled,
    Withdrawn,
)
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import questions_pb2 as questions
from issuer.callback.v1 import replies_pb2 as replies

US = "0123456789abcdef"
QUESTION = callback.Question(
    token=f"{US}token",
    issuer_id="ISSUER0001",
    attempt=2,
    deliver_otp=questions.DeliverOtpRequest(consumer_id="consumer-1", otp="135790"),
)
REPLY = callback.Reply(
    token=f"{US}token", authenticate=replies.AuthenticateResponse(authentication_id="authentication-1")
)
OFFERS = (
    Offer(
        7,
        frozenset({("ISSUER0001", "deliver_otp"), ("ISSUER0002", "authenticate")}),
        16,
        is_draining=False,
        has_room=True,
    ),
    Offer(8, frozenset({("ISSUER0001", "deliver_otp")}), 1000, is_draining=True, has_room=False),
)
EACH: tuple[Message, ...] = (
    Presence(US, 42, OFFERS, wants_answer=True, sent_at=1234.5),
    Presence(US, 43, (), wants_answer=False, sent_at=0.0),
    Asked(US, 7, QUESTION, sent_at=1234.5),
    Declined(US, 7, "a-token"),
    Withdrawn(US, 7, "a-token"),
    HasRoom(US, 7),
    Replied(US, 7, 44, REPLY),
    Settled(US, 44, callback.REPLY_OUTCOME_ALREADY_ANSWERED),
)

numbers = st.integers(0, 2**64 - 1)
ids = st.binary(min_size=8, max_size=8).map(bytes.hex)
topics = st.tuples(st.text(max_size=10), st.text(max_size=25))
offers = st.builds(
    Offer, numbers, st.frozensets(topics, max_size=4), st.integers(0, 2**32 - 1), st.booleans(), st.booleans()
)


@pytest.mark.parametrize("message", EACH, ids=lambda message: type(message).__name__)
def test_what_is_written_is_read(message: Message) -> None:
    assert decode(encode(message)) == message


@given(
    st.builds(
        Presence,
        ids,
        numbers,
        st.lists(offers, max_size=4).map(tuple),
        st.booleans(),
        st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_whatever_handlers_there_are_is_read_as_it_was_written(message: Presence) -> None:
    assert decode(encode(message)) == message


def test_a_hundred_handlers_that_answer_everything_for_a_hundred_issuers_fit_into_one_message() -> None:
    kinds = ("consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials")
    served = frozenset((f"ISSUER{number:04}", kind) for number in range(100) for kind in kinds)
    there = tuple(Offer(number, served, 16, is_draining=False, has_room=True) for number in range(100))

    assert len(encode(Presence(US, 1, there, wants_answer=False, sent_at=0.0))) < 200_000


@pytest.mark.parametrize("message", EACH, ids=lambda message: type(message).__name__)
def test_a_message_of_another_version_is_told_apart(message: Message) -> None:
    written = bytearray(encode(message))
    written[4] += 1

    with pytest.raises(UnreadableError, match="of another version"):
        decode(bytes(written))


@pytest.mark.parametrize("data", [b"", b"D1GQ", b"PING\r\n", b'{"otp": "135790"}' * 3])
def test_what_no_gateway_wrote_is_told_apart(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        decode(data)


@given(st.sampled_from(EACH), st.data())
def test_what_was_cut_off_is_read_as_nothing_else(message: Message, data: st.DataObject) -> None:
    written = encode(message)
    cut = written[: data.draw(st.integers(0, len(written) - 1))]

    try:
        read = decode(cut)
    except UnreadableError:
        return
    # A text or a protobuf message may be cut where it makes sense; what it names has to exist for it to do anything.
    assert isinstance(read, Asked | Declined | Withdrawn | Replied)


@given(st.sampled_from(EACH), st.data())
def test_what_was_spoilt_breaks_nothing(message: Message, data: st.DataObject) -> None:
    written = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))

    with suppress(UnreadableError):
        decode(bytes(written))


@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_bytes_behind_a_right_head_break_nothing(kind: int, body: bytes) -> None:
    with suppress(UnreadableError):
        decode(struct.pack(">4sBB8s", b"D1GQ", 1, kind, bytes.fromhex(US)) + body)


@pytest.mark.parametrize(
    "message",
    [
        Asked(US, 7, callback.Question(token="a-token"), sent_at=0.0),
        Asked(US, 7, callback.Question(deliver_otp=questions.DeliverOtpRequest()), sent_at=0.0),
        Replied(US, 7, 44, callback.Reply(token="a-token")),
        Asked(US, 7, QUESTION, sent_at=nan),
        Presence(US, 42, OFFERS, wants_answer=True, sent_at=inf),
        Settled(US, 44, 77),  # type: ignore[arg-type]  # what a later version may have
    ],
    ids=["no request", "no token", "no response", "no time", "no time either", "no outcome"],
)
def test_what_makes_no_sense_is_not_read(message: Message) -> None:
    with pytest.raises(UnreadableError, match="damaged"):
        decode(encode(message))
