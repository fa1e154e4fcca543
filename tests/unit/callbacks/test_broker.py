"""Whom the broker asks, one promise at a time; ``test_broker_random.py`` checks them all at once."""

import pytest

from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, LATE, UNKNOWN_TOKEN, Desk
from tests.unit.callbacks.broker_samples import ISSUER, TOPICS, a_reply


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_handler_is_told_what_is_asked_by_whom_and_until_when(desk: Desk) -> None:
    handler, _ = desk.connect()

    desk.ask("c-7", 8.5)

    (question,) = handler.questions
    assert question.issuer_id == ISSUER
    assert question.correlation_id == "c-7"
    assert question.deliver_otp.consumer_id == "consumer-1"
    assert question.attempt == 1
    assert question.time_left.ToMilliseconds() == 8500
    assert question.deadline.ToSeconds() == 700_001_008
    assert 1 <= len(question.token) <= 128


def test_a_question_goes_only_to_handlers_of_its_issuer_and_its_kind(desk: Desk) -> None:
    others, _ = desk.connect(topics=TOPICS[1:])
    handler, _ = desk.connect(topics=TOPICS[:1])

    desk.ask("q", topic=TOPICS[0])

    assert (handler.asked, others.asked) == (["q"], [])


def test_a_question_goes_to_the_handler_with_the_fewest_unanswered_ones(desk: Desk) -> None:
    handler, seat = desk.connect()
    other, _ = desk.connect()
    for name in ("1", "2", "3", "4"):
        desk.ask(name)
    for question in handler.questions:
        desk.broker.reply(seat, a_reply(question.token))

    desk.ask("5")
    desk.ask("6")

    assert handler.asked == ["1", "3", "5", "6"]
    assert other.asked == ["2", "4"]


def test_handlers_with_equally_little_to_do_take_turns(desk: Desk) -> None:
    handlers = [desk.connect() for _ in range(3)]

    for number in range(9):
        desk.ask(str(number))
        for handler, seat in handlers:
            for question in handler.questions:
                desk.broker.reply(seat, a_reply(question.token))

    assert [handler.asked for handler, _ in handlers] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


def test_no_handler_has_more_than_it_takes_at_once_and_each_reply_makes_room(desk: Desk) -> None:
    handler, seat = desk.connect(max_in_flight=2)
    for name in ("1", "2", "3", "4"):
        desk.ask(name)
    assert handler.asked == ["1", "2"]

    desk.broker.reply(seat, a_reply(handler.questions[1].token))
    assert handler.asked == ["1", "2", "3"]


def test_a_place_that_becomes_free_goes_to_the_most_urgent_question_of_all_kinds(desk: Desk) -> None:
    handler, seat = desk.connect(max_in_flight=1)
    desk.ask("first")
    desk.ask("unhurried", 8.0)
    desk.ask("urgent", 2.0, topic=TOPICS[1])
    desk.ask("most urgent", 1.0)

    desk.broker.reply(seat, a_reply(handler.questions[0].token))
    desk.broker.reply(seat, a_reply(handler.questions[1].token))

    assert handler.asked == ["first", "most urgent", "urgent"]


def test_a_handler_that_connects_is_sent_what_waits_as_far_as_it_has_room(desk: Desk) -> None:
    for name, seconds in (("1", 8.0), ("2", 4.0), ("3", 6.0)):
        desk.ask(name, seconds)

    handler, _ = desk.connect(max_in_flight=2)

    assert handler.asked == ["2", "3"]


def test_what_a_handler_leaves_undone_goes_to_another_one_at_once(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask()
    other, other_seat = desk.connect()
    desk.clock.run_for(1)

    desk.broker.disconnect(seat)

    (question,) = other.questions
    assert question.attempt == 2
    assert question.time_left.ToSeconds() == 7
    assert question.token == handler.questions[0].token
    assert desk.broker.reply(other_seat, a_reply(question.token)) == ACCEPTED


def test_a_second_handler_that_disconnects_makes_way_for_a_third_though_the_first_still_has_the_question(
    desk: Desk,
) -> None:
    desk.connect()
    desk.ask(seconds=8.0)
    second, second_seat = desk.connect()
    third, _ = desk.connect()
    desk.clock.run_for(4)
    assert second.asked == ["q"]

    desk.broker.disconnect(second_seat)

    assert third.asked == ["q"]


def test_at_half_of_the_time_that_is_left_another_handler_is_asked_and_either_may_reply(desk: Desk) -> None:
    handlers = [desk.connect() for _ in range(3)]
    desk.ask(seconds=8.0)

    desk.clock.run_until(1003.999)
    assert [handler.asked for handler, _ in handlers] == [["q"], [], []]
    desk.clock.run_until(1004.0)
    assert [handler.asked for handler, _ in handlers] == [["q"], ["q"], []]
    desk.clock.run_until(1006.0)
    assert [handler.asked for handler, _ in handlers] == [["q"], ["q"], ["q"]]

    token = handlers[0][0].questions[0].token
    assert desk.broker.reply(handlers[0][1], a_reply(token)) == ACCEPTED
    assert desk.broker.reply(handlers[1][1], a_reply(token)) == ALREADY_ANSWERED
    assert desk.broker.size[0] == 1
    assert desk.broker.reply(handlers[2][1], a_reply(token)) == ALREADY_ANSWERED
    desk.assert_nothing_is_left()


def test_a_question_that_took_too_long_goes_to_the_next_handler_that_connects(desk: Desk) -> None:
    desk.connect()
    desk.ask(seconds=8.0)
    desk.clock.run_until(1005.0)

    other, _ = desk.connect()

    assert other.questions[0].attempt == 2


def test_three_handlers_that_take_too_long_are_the_last_that_are_asked(desk: Desk) -> None:
    handlers = [desk.connect()[0] for _ in range(4)]
    desk.ask(seconds=8.0)

    desk.clock.run_until(1007.5)
    later, _ = desk.connect()
    desk.clock.run_until(1008.0)

    assert [handler.asked for handler in (*handlers, later)] == [["q"], ["q"], ["q"], [], []]
    assert desk.ended == {"q": None}


def test_a_third_handler_that_disconnects_is_replaced_and_its_replacement_is_the_last(desk: Desk) -> None:
    handlers = [desk.connect() for _ in range(5)]
    desk.ask(seconds=8.0)
    desk.clock.run_until(1006.5)

    desk.broker.disconnect(handlers[2][1])
    assert [handler.asked for handler, _ in handlers] == [["q"], ["q"], ["q"], ["q"], []]

    desk.clock.run_until(1007.75)
    assert handlers[4][0].asked == []
    assert handlers[3][0].questions[0].attempt == 4


def test_handlers_that_disconnected_count_among_the_three(desk: Desk) -> None:
    seats = [desk.connect()[1] for _ in range(2)]
    third, _ = desk.connect()
    fourth, _ = desk.connect()
    desk.ask(seconds=8.0)
    for seat in seats:
        desk.broker.disconnect(seat)
    assert third.asked == ["q"]

    desk.clock.run_until(1007.75)

    assert fourth.asked == []


@pytest.mark.parametrize(("seconds", "asked"), [(0.5, ["q"]), (0.375, [])])
def test_nobody_else_is_asked_because_a_handler_takes_too_long_if_there_is_next_to_no_time(
    desk: Desk, seconds: float, asked: list[str]
) -> None:
    desk.connect()
    other, _ = desk.connect()
    desk.ask(seconds=seconds)

    desk.clock.run_for(seconds)

    assert other.asked == asked


@pytest.mark.parametrize("is_prompt", [True, False])
def test_with_next_to_no_time_a_question_of_who_takes_too_long_waits_for_nobody(desk: Desk, *, is_prompt: bool) -> None:
    desk.connect()
    desk.ask(seconds=8.0)
    desk.clock.run_until(1007.75)
    assert desk.broker.size[0] == 2, "one question, and one that waits"

    # A loop that is busy hears of the new handler before it looks at the time.
    (desk.clock.run_until if is_prompt else desk.clock.stall_until)(1007.875)
    other, _ = desk.connect()

    assert other.asked == []
    desk.clock.run_until(1007.875)
    assert desk.broker.size[0] == 1


def test_a_handler_that_disconnects_is_replaced_however_little_time_there_is(desk: Desk) -> None:
    _, seat = desk.connect()
    desk.ask(seconds=8.0)
    desk.clock.run_until(1007.875)
    desk.broker.disconnect(seat)
    desk.clock.run_until(1007.9375)

    other, _ = desk.connect()

    assert other.asked == ["q"]


def test_a_question_that_waits_because_of_who_dawdles_waits_on_if_that_one_disconnects(desk: Desk) -> None:
    _, seat = desk.connect()
    desk.ask(seconds=8.0)
    desk.clock.run_until(1005.0)
    desk.broker.disconnect(seat)
    desk.clock.run_until(1007.9375)

    other, _ = desk.connect()

    assert other.asked == ["q"]


def test_a_handler_that_took_too_long_is_asked_after_the_others_until_it_replies(desk: Desk) -> None:
    slow, slow_seat = desk.connect()
    desk.ask("slow", 8.0)
    prompt, _ = desk.connect()
    desk.clock.run_for(4)
    assert (slow.asked, prompt.asked) == (["slow"], ["slow"])

    desk.ask("1")
    assert prompt.asked == ["slow", "1"]
    desk.broker.reply(slow_seat, a_reply(slow.questions[0].token))
    desk.ask("2")
    assert slow.asked == ["slow", "2"]


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_reply_to_a_question_that_is_over_makes_a_handler_prompt_again(desk: Desk, *, is_answered: bool) -> None:
    slow, slow_seat = desk.connect()
    prompt, prompt_seat = desk.connect()
    desk.ask("slow", 8.0)
    desk.clock.run_until(1005.0)
    if is_answered:
        desk.broker.reply(prompt_seat, a_reply(prompt.questions[0].token))
    desk.clock.run_until(1008.0)
    assert slow_seat.is_tardy

    assert desk.broker.reply(slow_seat, a_reply("never")) == UNKNOWN_TOKEN
    assert slow_seat.is_tardy
    assert desk.broker.reply(slow_seat, a_reply(slow.questions[0].token)) == LATE
    assert not slow_seat.is_tardy


def test_a_second_reply_in_time_makes_a_handler_prompt_again(desk: Desk) -> None:
    slow, slow_seat = desk.connect()
    desk.ask("quick")
    desk.ask("slow", 4.0)
    desk.broker.reply(slow_seat, a_reply(slow.questions[0].token))
    desk.clock.run_for(3)
    assert slow_seat.is_tardy

    assert desk.broker.reply(slow_seat, a_reply(slow.questions[0].token)) == ALREADY_ANSWERED

    assert not slow_seat.is_tardy


def test_how_long_there_is_for_a_question_is_told_anew_until_its_time_is_over(desk: Desk) -> None:
    handler, _ = desk.connect()
    desk.ask(seconds=8.0)
    (question,) = handler.questions

    desk.clock.run_for(3)
    assert desk.broker.refresh(question)
    assert question.time_left.ToMilliseconds() == 5000
    desk.clock.stall_until(1008.0)
    assert not desk.broker.refresh(question)
    desk.clock.run_until(1008.0)
    assert not desk.broker.refresh(question)


def test_no_handler_is_sent_a_question_twice(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask("slow", 8.0)
    desk.ask("quick", 8.0)
    desk.clock.run_for(5)

    desk.broker.reply(seat, a_reply(handler.questions[1].token))

    assert handler.asked == ["slow", "quick"]


def test_a_draining_handler_gets_no_question_and_its_replies_count(desk: Desk) -> None:
    handler, seat = desk.connect(max_in_flight=1)
    desk.ask("1")
    desk.ask("2")

    desk.broker.drain(seat)

    assert desk.broker.reply(seat, a_reply(handler.questions[0].token)) == ACCEPTED
    desk.ask("3")
    assert handler.asked == ["1"]


def test_a_handler_that_is_gone_is_sent_nothing_for_a_reply_that_was_under_way(desk: Desk) -> None:
    handler, seat = desk.connect()
    desk.ask("1")
    desk.broker.disconnect(seat)
    desk.ask("2")

    assert desk.broker.reply(seat, a_reply(handler.questions[0].token)) == ACCEPTED
    assert handler.asked == ["1"]


def test_nothing_is_kept_of_handlers_that_are_gone(desk: Desk) -> None:
    seats = [desk.connect()[1] for _ in range(3)]
    desk.broker.drain(seats[1])

    for seat in seats:
        desk.broker.disconnect(seat)

    assert desk.broker.size == (0, 0)
