"""Messages of peers, as received from NATS."""

from contextlib import suppress
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.nats.callbacks.codec import UnreadableError, decode
from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.callbacks.cluster.messages import add_sessions, topics_of
from gateway.callbacks.model import HandlerSession, Topic
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.callback.v1 import requests_pb2
from tests.unit.callbacks.broker_samples import RecordingHandler

US = "0123456789abcdef"
NEWER_FIELD = b"\xa2\x06\x02hi"
"""Field 100, which no message has yet."""
REQUEST = callback.CallbackRequest(
    token=f"{US}token",
    issuer_id="ISSUER0001",
    attempt=2,
    deliver_otp=requests_pb2.DeliverOtpRequest(consumer_id="consumer-1", otp="135790"),
)
REPLY = callback.CallbackReply(
    token=f"{US}token", authenticate=replies.AuthenticateConsumerResponse(authentication_id="authentication-1")
)
SESSIONS = (
    peer.HandlerSession(id=7, topic_indexes=(0, 1), max_in_flight=16, has_room=True),
    peer.HandlerSession(id=8, topic_indexes=(0,), max_in_flight=1000, is_draining=True),
)
TOPICS = (
    peer.Topic(issuer_id="ISSUER0001", kind="deliver_otp"),
    peer.Topic(issuer_id="ISSUER0002", kind="authenticate"),
)
PRESENCE = peer.Presence(number=42, topics=TOPICS, handler_sessions=SESSIONS, wants_reply=True, sent_at_seconds=1234.5)
FORWARDED = peer.ForwardedRequest(handler_session_id=7, callback_request=REQUEST, sent_at_seconds=1234.5)
EACH = (
    peer.PeerMessage(sender=US, presence=PRESENCE),
    peer.PeerMessage(sender=US, presence=peer.Presence()),
    peer.PeerMessage(sender=US, request=FORWARDED),
    peer.PeerMessage(sender=US, declined=peer.DeclinedRequest(handler_session_id=7, token="a-token")),
    peer.PeerMessage(sender=US, withdrawn=peer.WithdrawnRequest(handler_session_id=7, token="a-token")),
    peer.PeerMessage(sender=US, capacity=peer.Capacity(handler_session_id=7)),
    peer.PeerMessage(
        sender=US, reply=peer.ForwardedReply(handler_session_id=7, number=44, callback_reply=REPLY, topics=TOPICS)
    ),
    peer.PeerMessage(
        sender=US, reply_result=peer.ReplyResult(number=44, outcome=callback.REPLY_OUTCOME_ALREADY_ANSWERED)
    ),
)

topics = st.tuples(st.text(max_size=10), st.text(max_size=25))
served = st.frozensets(topics, max_size=4)


def kind_of(message: peer.PeerMessage) -> str:
    return str(message.WhichOneof("content"))


@pytest.mark.parametrize("message", EACH, ids=kind_of)
def test_what_a_gateway_sends_is_read_and_a_newer_field_is_ignored(message: peer.PeerMessage) -> None:
    written = message.SerializeToString()

    assert decode(written) == message
    newer = decode(written + NEWER_FIELD)
    assert (kind_of(newer), newer.sender) == (kind_of(message), US)


@given(st.dictionaries(st.integers(1, 2**64 - 1), served, max_size=4), st.booleans())
def test_whatever_handlers_reply_to_is_read_as_it_was_written(
    sessions: dict[int, frozenset[Topic]],
    is_draining: bool,  # noqa: FBT001  hypothesis passes what it draws
) -> None:
    written = peer.PeerMessage(sender=US, presence=peer.Presence())
    ours = {number: HandlerSession(RecordingHandler(), topics, 16) for number, topics in sessions.items()}
    add_sessions(written.presence, ours, is_draining=is_draining)

    presence = decode(written.SerializeToString()).presence

    assert {each.id: frozenset(topics_of(presence, each)) for each in presence.handler_sessions} == sessions
    assert all(each.is_draining == is_draining and each.has_room for each in presence.handler_sessions)


def test_a_hundred_handlers_that_answer_everything_for_a_hundred_issuers_fit_into_one_message() -> None:
    kinds = ("consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials")
    everything = frozenset((f"ISSUER{number:04}", kind) for number in range(100) for kind in kinds)
    presence = peer.Presence()
    sessions = {number: HandlerSession(RecordingHandler(), everything, 16) for number in range(100)}
    add_sessions(presence, sessions, is_draining=False)

    assert presence.ByteSize() < 200_000


def test_a_field_of_a_callback_request_that_only_newer_gateways_know_reaches_the_handler() -> None:
    newer = callback.CallbackRequest.FromString(REQUEST.SerializeToString() + NEWER_FIELD)
    request = peer.ForwardedRequest(callback_request=newer)

    read = decode(peer.PeerMessage(sender=US, request=request).SerializeToString())

    assert read.request.callback_request.SerializeToString().endswith(NEWER_FIELD)


def test_a_kind_of_message_that_only_newer_gateways_know_is_rejected() -> None:
    with pytest.raises(UnreadableError, match="unknown kind"):
        decode(peer.PeerMessage(sender=US).SerializeToString() + NEWER_FIELD)


@pytest.mark.parametrize("data", [b"", b"\x00", b"PING\r\n", b'{"otp": "135790"}' * 3])
def test_what_no_gateway_wrote_is_rejected(data: bytes) -> None:
    with pytest.raises(UnreadableError) as refused:
        decode(data)

    assert "135790" not in str(refused.value)


@pytest.mark.parametrize("sender", ["", US.upper(), US + "0", "all", f"{US[:-2]}.>", f"{US}\n"])
def test_a_sender_that_is_no_id_is_refused_as_it_would_become_a_subject(sender: str) -> None:
    with pytest.raises(UnreadableError, match="not from a gateway"):
        decode(peer.PeerMessage(sender=sender, capacity=peer.Capacity()).SerializeToString())


def test_a_message_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(UnreadableError, match="too large"):
        decode(EACH[0].SerializeToString() + bytes(8 * 1_048_576))


@given(st.sampled_from(EACH), st.data())
def test_what_was_spoilt_breaks_nothing(message: peer.PeerMessage, data: st.DataObject) -> None:
    written = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))

    with suppress(UnreadableError):
        decode(bytes(written))


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_right_sender_break_nothing(body: bytes) -> None:
    with suppress(UnreadableError):
        decode(peer.PeerMessage(sender=US).SerializeToString() + body)


def a_request(request: callback.CallbackRequest, sent_at: float = 0.0) -> peer.PeerMessage:
    forwarded = peer.ForwardedRequest(callback_request=request, sent_at_seconds=sent_at)
    return peer.PeerMessage(sender=US, request=forwarded)


def with_time_left(seconds: int) -> callback.CallbackRequest:
    request = callback.CallbackRequest.FromString(REQUEST.SerializeToString())
    request.time_left.seconds = seconds
    return request


SENSELESS = {
    "no request": a_request(callback.CallbackRequest(token="a-token")),
    "no token": a_request(callback.CallbackRequest(deliver_otp=requests_pb2.DeliverOtpRequest())),
    "no time": a_request(REQUEST, nan),
    "time left without end": a_request(with_time_left(2**62)),
    "time left below nothing": a_request(with_time_left(-1)),
    "no time either": peer.PeerMessage(sender=US, presence=peer.Presence(sent_at_seconds=inf)),
    "a topic that is not there": peer.PeerMessage(sender=US, presence=peer.Presence(handler_sessions=SESSIONS)),
    "no response": peer.PeerMessage(
        sender=US, reply=peer.ForwardedReply(callback_reply=callback.CallbackReply(token="a-token"))
    ),
    "no outcome": peer.PeerMessage(sender=US, reply_result=peer.ReplyResult(outcome=77)),  # type: ignore[arg-type]  # what a later version may have
}


@pytest.mark.parametrize("message", SENSELESS.values(), ids=SENSELESS)
def test_what_makes_no_sense_is_not_read(message: peer.PeerMessage) -> None:
    with pytest.raises(UnreadableError, match="inconsistent"):
        decode(message.SerializeToString())


@pytest.mark.parametrize(
    ("message", "field"), [("ForwardedRequest", "callback_request"), ("ForwardedReply", "callback_reply")]
)
def test_the_contract_marks_what_is_private(message: str, field: str) -> None:
    assert peer.DESCRIPTOR.message_types_by_name[message].fields_by_name[field].GetOptions().debug_redact
