"""Whom the broker asks, one promise at a time; ``test_broker_random.py`` checks them all at once."""

import pytest

from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, LATE, UNKNOWN_TOKEN, CallbackRegistry
from tests.unit.callbacks.broker_samples import ISSUER, TOPICS, a_reply


@pytest.fixture
def registry() -> CallbackRegistry:
    return CallbackRegistry()


def test_a_handler_is_told_what_is_asked_by_whom_and_until_when(registry: CallbackRegistry) -> None:
    handler, _ = registry.connect()

    registry.ask("c-7", 8.5)

    (question,) = handler.questions
    assert question.issuer_id == ISSUER
    assert question.correlation_id == "c-7"
    assert question.deliver_otp.consumer_id == "consumer-1"
    assert question.attempt == 1
    assert question.time_left.ToMilliseconds() == 8500
    assert question.deadline.ToSeconds() == 700_001_008
    assert 1 <= len(question.token) <= 128


def test_a_callback_goes_only_to_handlers_of_its_issuer_and_its_kind(registry: CallbackRegistry) -> None:
    others, _ = registry.connect(topics=TOPICS[1:])
    handler, _ = registry.connect(topics=TOPICS[:1])

    registry.ask("q", topic=TOPICS[0])

    assert (handler.asked, others.asked) == (["q"], [])


def test_a_callback_goes_to_the_handler_with_the_fewest_unanswered_ones(registry: CallbackRegistry) -> None:
    handler, session = registry.connect()
    other, _ = registry.connect()
    for name in ("1", "2", "3", "4"):
        registry.ask(name)
    for question in handler.questions:
        registry.broker.reply(session, a_reply(question.token))

    registry.ask("5")
    registry.ask("6")

    assert handler.asked == ["1", "3", "5", "6"]
    assert other.asked == ["2", "4"]


def test_handlers_with_equally_little_to_do_take_turns(registry: CallbackRegistry) -> None:
    handlers = [registry.connect() for _ in range(3)]

    for number in range(9):
        registry.ask(str(number))
        for handler, session in handlers:
            for question in handler.questions:
                registry.broker.reply(session, a_reply(question.token))

    assert [handler.asked for handler, _ in handlers] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


def test_no_handler_has_more_than_it_takes_at_once_and_each_reply_makes_room(registry: CallbackRegistry) -> None:
    handler, session = registry.connect(max_in_flight=2)
    for name in ("1", "2", "3", "4"):
        registry.ask(name)
    assert handler.asked == ["1", "2"]

    registry.broker.reply(session, a_reply(handler.questions[1].token))
    assert handler.asked == ["1", "2", "3"]


def test_a_place_that_becomes_free_goes_to_the_most_urgent_callback_of_all_kinds(registry: CallbackRegistry) -> None:
    handler, session = registry.connect(max_in_flight=1)
    registry.ask("first")
    registry.ask("unhurried", 8.0)
    registry.ask("urgent", 2.0, topic=TOPICS[1])
    registry.ask("most urgent", 1.0)

    registry.broker.reply(session, a_reply(handler.questions[0].token))
    registry.broker.reply(session, a_reply(handler.questions[1].token))

    assert handler.asked == ["first", "most urgent", "urgent"]


def test_a_handler_that_connects_is_sent_what_waits_as_far_as_it_has_room(registry: CallbackRegistry) -> None:
    for name, seconds in (("1", 8.0), ("2", 4.0), ("3", 6.0)):
        registry.ask(name, seconds)

    handler, _ = registry.connect(max_in_flight=2)

    assert handler.asked == ["2", "3"]


def test_what_a_handler_leaves_undone_goes_to_another_one_at_once(registry: CallbackRegistry) -> None:
    handler, session = registry.connect()
    registry.ask()
    other, other_session = registry.connect()
    registry.clock.run_for(1)

    registry.broker.disconnect(session)

    (question,) = other.questions
    assert question.attempt == 2
    assert question.time_left.ToSeconds() == 7
    assert question.token == handler.questions[0].token
    assert registry.broker.reply(other_session, a_reply(question.token)) == ACCEPTED


def test_a_second_handler_that_disconnects_makes_way_for_a_third_though_the_first_still_has_the_callback(
    registry: CallbackRegistry,
) -> None:
    registry.connect()
    registry.ask(seconds=8.0)
    second, second_session = registry.connect()
    third, _ = registry.connect()
    registry.clock.run_for(4)
    assert second.asked == ["q"]

    registry.broker.disconnect(second_session)

    assert third.asked == ["q"]


def test_at_half_of_the_time_that_is_left_another_handler_is_asked_and_either_may_reply(
    registry: CallbackRegistry,
) -> None:
    handlers = [registry.connect() for _ in range(3)]
    registry.ask(seconds=8.0)

    registry.clock.run_until(1003.999)
    assert [handler.asked for handler, _ in handlers] == [["q"], [], []]
    registry.clock.run_until(1004.0)
    assert [handler.asked for handler, _ in handlers] == [["q"], ["q"], []]
    registry.clock.run_until(1006.0)
    assert [handler.asked for handler, _ in handlers] == [["q"], ["q"], ["q"]]

    token = handlers[0][0].questions[0].token
    assert registry.broker.reply(handlers[0][1], a_reply(token)) == ACCEPTED
    assert registry.broker.reply(handlers[1][1], a_reply(token)) == ALREADY_ANSWERED
    assert registry.broker.size[0] == 1
    assert registry.broker.reply(handlers[2][1], a_reply(token)) == ALREADY_ANSWERED
    registry.assert_nothing_is_left()


def test_a_callback_that_took_too_long_goes_to_the_next_handler_that_connects(registry: CallbackRegistry) -> None:
    registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1005.0)

    other, _ = registry.connect()

    assert other.questions[0].attempt == 2


def test_three_handlers_that_take_too_long_are_the_last_that_are_asked(registry: CallbackRegistry) -> None:
    handlers = [registry.connect()[0] for _ in range(4)]
    registry.ask(seconds=8.0)

    registry.clock.run_until(1007.5)
    later, _ = registry.connect()
    registry.clock.run_until(1008.0)

    assert [handler.asked for handler in (*handlers, later)] == [["q"], ["q"], ["q"], [], []]
    assert registry.ended == {"q": None}


def test_a_third_handler_that_disconnects_is_replaced_and_its_replacement_is_the_last(
    registry: CallbackRegistry,
) -> None:
    handlers = [registry.connect() for _ in range(5)]
    registry.ask(seconds=8.0)
    registry.clock.run_until(1006.5)

    registry.broker.disconnect(handlers[2][1])
    assert [handler.asked for handler, _ in handlers] == [["q"], ["q"], ["q"], ["q"], []]

    registry.clock.run_until(1007.75)
    assert handlers[4][0].asked == []
    assert handlers[3][0].questions[0].attempt == 4


def test_handlers_that_disconnected_count_among_the_three(registry: CallbackRegistry) -> None:
    sessions = [registry.connect()[1] for _ in range(2)]
    third, _ = registry.connect()
    fourth, _ = registry.connect()
    registry.ask(seconds=8.0)
    for session in sessions:
        registry.broker.disconnect(session)
    assert third.asked == ["q"]

    registry.clock.run_until(1007.75)

    assert fourth.asked == []


@pytest.mark.parametrize(("seconds", "asked"), [(0.5, ["q"]), (0.375, [])])
def test_nobody_else_is_asked_because_a_handler_takes_too_long_if_there_is_next_to_no_time(
    registry: CallbackRegistry, seconds: float, asked: list[str]
) -> None:
    registry.connect()
    other, _ = registry.connect()
    registry.ask(seconds=seconds)

    registry.clock.run_for(seconds)

    assert other.asked == asked


@pytest.mark.parametrize("is_prompt", [True, False])
def test_with_next_to_no_time_a_callback_of_who_takes_too_long_waits_for_nobody(
    registry: CallbackRegistry, *, is_prompt: bool
) -> None:
    registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1007.75)
    assert registry.broker.size[0] == 2, "one question, and one that waits"

    # A loop that is busy hears of the new handler before it looks at the time.
    (registry.clock.run_until if is_prompt else registry.clock.stall_until)(1007.875)
    other, _ = registry.connect()

    assert other.asked == []
    registry.clock.run_until(1007.875)
    assert registry.broker.size[0] == 1


def test_a_handler_that_disconnects_is_replaced_however_little_time_there_is(registry: CallbackRegistry) -> None:
    _, session = registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1007.875)
    registry.broker.disconnect(session)
    registry.clock.run_until(1007.9375)

    other, _ = registry.connect()

    assert other.asked == ["q"]


def test_a_callback_that_waits_because_of_who_dawdles_waits_on_if_that_one_disconnects(
    registry: CallbackRegistry,
) -> None:
    _, session = registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1005.0)
    registry.broker.disconnect(session)
    registry.clock.run_until(1007.9375)

    other, _ = registry.connect()

    assert other.asked == ["q"]


def test_a_handler_that_took_too_long_is_asked_after_the_others_until_it_replies(registry: CallbackRegistry) -> None:
    slow, slow_session = registry.connect()
    registry.ask("slow", 8.0)
    prompt, _ = registry.connect()
    registry.clock.run_for(4)
    assert (slow.asked, prompt.asked) == (["slow"], ["slow"])

    registry.ask("1")
    assert prompt.asked == ["slow", "1"]
    registry.broker.reply(slow_session, a_reply(slow.questions[0].token))
    registry.ask("2")
    assert slow.asked == ["slow", "2"]


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_reply_to_a_callback_that_is_over_makes_a_handler_prompt_again(
    registry: CallbackRegistry, *, is_answered: bool
) -> None:
    slow, slow_session = registry.connect()
    prompt, prompt_session = registry.connect()
    registry.ask("slow", 8.0)
    registry.clock.run_until(1005.0)
    if is_answered:
        registry.broker.reply(prompt_session, a_reply(prompt.questions[0].token))
    registry.clock.run_until(1008.0)
    assert slow_session.is_slow

    assert registry.broker.reply(slow_session, a_reply("never")) == UNKNOWN_TOKEN
    assert slow_session.is_slow
    assert registry.broker.reply(slow_session, a_reply(slow.questions[0].token)) == LATE
    assert not slow_session.is_slow


def test_a_second_reply_in_time_makes_a_handler_prompt_again(registry: CallbackRegistry) -> None:
    slow, slow_session = registry.connect()
    registry.ask("quick")
    registry.ask("slow", 4.0)
    registry.broker.reply(slow_session, a_reply(slow.questions[0].token))
    registry.clock.run_for(3)
    assert slow_session.is_slow

    assert registry.broker.reply(slow_session, a_reply(slow.questions[0].token)) == ALREADY_ANSWERED

    assert not slow_session.is_slow


def test_how_long_there_is_for_a_callback_is_told_anew_until_its_time_is_over(registry: CallbackRegistry) -> None:
    handler, _ = registry.connect()
    registry.ask(seconds=8.0)
    (question,) = handler.questions

    registry.clock.run_for(3)
    assert registry.broker.refresh(question)
    assert question.time_left.ToMilliseconds() == 5000
    registry.clock.stall_until(1008.0)
    assert not registry.broker.refresh(question)
    registry.clock.run_until(1008.0)
    assert not registry.broker.refresh(question)


def test_no_handler_is_sent_a_callback_twice(registry: CallbackRegistry) -> None:
    handler, session = registry.connect()
    registry.ask("slow", 8.0)
    registry.ask("quick", 8.0)
    registry.clock.run_for(5)

    registry.broker.reply(session, a_reply(handler.questions[1].token))

    assert handler.asked == ["slow", "quick"]


def test_a_draining_handler_gets_no_callback_and_its_replies_count(registry: CallbackRegistry) -> None:
    handler, session = registry.connect(max_in_flight=1)
    registry.ask("1")
    registry.ask("2")

    registry.broker.drain(session)

    assert registry.broker.reply(session, a_reply(handler.questions[0].token)) == ACCEPTED
    registry.ask("3")
    assert handler.asked == ["1"]


def test_a_handler_that_is_gone_is_sent_nothing_for_a_reply_that_was_under_way(registry: CallbackRegistry) -> None:
    handler, session = registry.connect()
    registry.ask("1")
    registry.broker.disconnect(session)
    registry.ask("2")

    assert registry.broker.reply(session, a_reply(handler.questions[0].token)) == ACCEPTED
    assert handler.asked == ["1"]


def test_nothing_is_kept_of_handlers_that_are_gone(registry: CallbackRegistry) -> None:
    sessions = [registry.connect()[1] for _ in range(3)]
    registry.broker.drain(sessions[1])

    for session in sessions:
        registry.broker.disconnect(session)

    assert registry.broker.size == (0, 0)
