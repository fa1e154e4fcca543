"""How a question ends and what a replier is told; ``test_broker_random.py`` checks it all at once."""

from collections.abc import Callable

import pytest

from gateway.callbacks.broker import Broker, Seat, Topic, kind_of
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, INVALID, LATE, UNKNOWN_TOKEN, Desk
from tests.unit.callbacks.broker_samples import ISSUER, TOPICS, a_refusal, a_reply


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_first_reply_counts_and_a_second_one_is_told_that_there_is_one(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask()
    reply, other = a_reply(handler.questions[0].token), a_reply(handler.questions[0].token)

    assert desk.broker.reply(seat, reply) == ACCEPTED
    assert desk.broker.reply(seat, other) == ALREADY_ANSWERED
    assert desk.ended["q"] is reply
    desk.assert_nothing_is_left()


def test_a_reply_just_before_the_deadline_counts(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask(seconds=8.0)
    desk.clock.run_until(1007.999)

    assert desk.broker.reply(seat, a_reply(handler.questions[0].token)) == ACCEPTED


@pytest.mark.parametrize("has_expired", [True, False])
def test_a_reply_at_the_deadline_is_late_whether_or_not_the_question_has_ended(
    desk: Desk, *, has_expired: bool
) -> None:
    handler, seat = desk.connect()
    desk.ask(seconds=8.0)
    (desk.clock.run_until if has_expired else desk.clock.stall_until)(1008.0)

    assert desk.broker.reply(seat, a_reply(handler.questions[0].token)) == LATE
    assert desk.broker.reply(seat, a_reply(handler.questions[0].token, "authenticate")) == LATE
    desk.clock.run_until(1008.0)
    assert desk.ended == {"q": None}
    desk.assert_nothing_is_left()


def test_a_reply_to_what_this_gateway_never_asked_is_unknown(desk: Desk) -> None:
    handler, seat = desk.connect()
    elsewhere = Desk()
    stranger, _ = elsewhere.connect()
    desk.ask()
    elsewhere.ask()

    assert desk.broker.reply(seat, a_reply("never")) == UNKNOWN_TOKEN
    assert desk.broker.reply(seat, a_reply(stranger.questions[0].token)) == UNKNOWN_TOKEN
    assert desk.broker.reply(seat, a_reply(f"{handler.questions[0].token}=")) == UNKNOWN_TOKEN
    assert desk.ended == {}


def test_a_reply_of_another_kind_is_invalid_and_the_question_stays_open_and_in_its_place(desk: Desk) -> None:
    handler, seat = desk.connect(max_in_flight=1)
    desk.ask("first")
    desk.ask("second")
    token = handler.questions[0].token

    assert desk.broker.reply(seat, a_reply(token, "authenticate")) == INVALID
    assert handler.asked == ["first"]
    assert desk.broker.reply(seat, a_reply(token)) == ACCEPTED
    assert handler.asked == ["first", "second"]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_refusal_counts_for_every_kind_and_nobody_else_is_asked(desk: Desk, topic: Topic) -> None:
    handler, seat = desk.connect()
    other, _ = desk.connect()
    desk.ask(topic=topic)
    refusal = a_refusal(handler.questions[0].token)

    assert desk.broker.reply(seat, refusal) == ACCEPTED
    desk.clock.run_for(10)
    assert desk.ended["q"] is refusal
    assert other.questions == []


def test_a_reply_counts_over_whichever_stream_it_comes(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask()
    desk.broker.disconnect(seat)
    again, seat_again = desk.connect()

    assert desk.broker.reply(seat_again, a_reply(handler.questions[0].token)) == ACCEPTED
    assert again.asked == ["q"]
    desk.assert_nothing_is_left()


@pytest.mark.parametrize("is_connected", [True, False])
def test_without_a_reply_a_question_ends_with_none_at_its_deadline(desk: Desk, *, is_connected: bool) -> None:
    if is_connected:
        desk.connect()
    desk.ask(seconds=8.0)

    desk.clock.run_until(1007.999)
    assert desk.ended == {}
    desk.clock.run_until(1008.0)
    assert desk.ended == {"q": None}
    desk.assert_nothing_is_left()


def test_a_handler_need_not_answer_what_is_out_of_time_and_has_room_for_something_else(desk: Desk) -> None:
    handler, _ = desk.connect(max_in_flight=1)
    desk.ask("1", 2.0)
    desk.ask("2", 8.0)

    desk.clock.run_for(2)

    assert handler.withdrawn == [handler.questions[0].token]
    assert handler.asked == ["1", "2"]


def test_after_a_stall_nothing_is_sent_that_is_out_of_time(desk: Desk) -> None:
    desk.connect(max_in_flight=1)
    desk.ask("1", 2.0)
    desk.ask("2", 2.0)
    desk.clock.stall_until(1003.0)

    handler, _ = desk.connect()
    desk.clock.run_until(1003.0)

    assert handler.questions == []
    assert desk.ended == {"1": None, "2": None}


def test_a_question_that_does_not_wait_ends_at_once_if_nobody_serves_it(desk: Desk) -> None:
    desk.connect(topics=TOPICS[1:])
    _, draining = desk.connect()
    desk.broker.drain(draining)

    desk.ask(waits=False)

    assert desk.ended == {"q": None}
    desk.assert_nothing_is_left()


def test_a_question_that_does_not_wait_for_a_handler_waits_for_its_room(desk: Desk) -> None:
    handler, seat = desk.connect(max_in_flight=1)
    desk.ask("1")
    desk.ask("2", waits=False)

    desk.broker.reply(seat, a_reply(handler.questions[0].token))

    assert handler.asked == ["1", "2"]


@pytest.mark.parametrize("leave", [Broker.drain, Broker.disconnect])
def test_a_question_that_does_not_wait_ends_when_the_last_handler_leaves(
    desk: Desk, leave: Callable[[Broker, Seat], None]
) -> None:
    _, seat = desk.connect(max_in_flight=1)
    desk.ask("1")
    desk.ask("2", waits=False)
    desk.ask("3", waits=True)

    leave(desk.broker, seat)

    assert desk.ended == {"2": None}


def test_a_draining_handler_may_still_answer_what_does_not_wait_for_another(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask(seconds=8.0, waits=False)
    desk.clock.run_for(5)

    desk.broker.drain(seat)

    assert desk.ended == {}
    assert desk.broker.reply(seat, a_reply(handler.questions[0].token)) == ACCEPTED


def test_what_nobody_waits_for_any_more_is_forgotten_as_soon_as_no_handler_has_it(desk: Desk) -> None:
    handler, seat = desk.connect(max_in_flight=1)
    abandon_sent, abandon_waiting = desk.ask("1"), desk.ask("2")

    abandon_waiting()
    abandon_sent()
    assert desk.broker.size[0] == 1
    assert desk.broker.reply(seat, a_reply(handler.questions[0].token)) == ALREADY_ANSWERED

    assert handler.asked == ["1"]
    assert desk.ended == {}
    desk.assert_nothing_is_left()


def test_beyond_ten_thousand_open_questions_none_is_asked(desk: Desk) -> None:
    for number in range(10_000):
        desk.ask(str(number))

    desk.ask("one too many")

    assert desk.ended == {"one too many": None}
    desk.clock.run_for(8)
    assert len(desk.ended) == 10_001
    desk.assert_nothing_is_left()


def test_a_question_without_a_request_is_refused() -> None:
    with pytest.raises(ValueError, match="without a request"):
        kind_of(callback.Question(issuer_id=ISSUER))
