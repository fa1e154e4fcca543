"""Which handler gets a callback request, one promise at a time; ``test_broker_random.py`` checks them all at once."""

import pytest

from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, LATE, UNKNOWN_TOKEN, CallbackRegistry
from tests.unit.callbacks.broker_samples import ISSUER, TOPICS, a_reply


@pytest.fixture
def registry() -> CallbackRegistry:
    return CallbackRegistry()


def test_a_handler_gets_the_callback_request_with_its_issuer_and_its_deadline(registry: CallbackRegistry) -> None:
    handler = registry.connect()

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
    others = registry.connect(topics=TOPICS[1:])
    handler = registry.connect(topics=TOPICS[:1])

    registry.ask("q", topic=TOPICS[0])

    assert (handler.asked, others.asked) == (["q"], [])


def test_a_callback_goes_to_the_handler_with_the_fewest_unanswered_ones(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    other = registry.connect()
    for name in ("1", "2", "3", "4"):
        registry.ask(name)
    for question in handler.questions:
        handler.say(a_reply(question.token))

    registry.ask("5")
    registry.ask("6")

    assert handler.asked == ["1", "3", "5", "6"]
    assert other.asked == ["2", "4"]


def test_handlers_with_equally_little_to_do_take_turns(registry: CallbackRegistry) -> None:
    handlers = [registry.connect() for _ in range(3)]

    for number in range(9):
        registry.ask(str(number))
        for handler in handlers:
            for question in handler.questions:
                handler.say(a_reply(question.token))

    assert [handler.asked for handler in handlers] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


def test_no_handler_has_more_than_it_takes_at_once_and_each_reply_makes_room(registry: CallbackRegistry) -> None:
    handler = registry.connect(max_in_flight=2)
    for name in ("1", "2", "3", "4"):
        registry.ask(name)
    assert handler.asked == ["1", "2"]

    handler.reply(1)
    assert handler.asked == ["1", "2", "3"]


def test_a_place_that_becomes_free_goes_to_the_most_urgent_callback_of_all_kinds(registry: CallbackRegistry) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("first")
    registry.ask("unhurried", 8.0)
    registry.ask("urgent", 2.0, topic=TOPICS[1])
    registry.ask("most urgent", 1.0)

    handler.reply()
    handler.reply(1)

    assert handler.asked == ["first", "most urgent", "urgent"]


def test_a_handler_that_connects_is_sent_what_waits_as_far_as_it_has_room(registry: CallbackRegistry) -> None:
    for name, seconds in (("1", 8.0), ("2", 4.0), ("3", 6.0)):
        registry.ask(name, seconds)

    handler = registry.connect(max_in_flight=2)

    assert handler.asked == ["2", "3"]


def test_what_a_handler_leaves_undone_goes_to_another_one_at_once(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask()
    other = registry.connect()
    registry.clock.run_for(1)

    handler.leave()

    (question,) = other.questions
    assert question.attempt == 2
    assert question.time_left.ToSeconds() == 7
    assert question.token == handler.token()
    assert other.say(a_reply(question.token)) == ACCEPTED


def test_a_second_handler_that_disconnects_makes_way_for_a_third_though_the_first_still_has_the_callback(
    registry: CallbackRegistry,
) -> None:
    registry.connect()
    registry.ask(seconds=8.0)
    second = registry.connect()
    third = registry.connect()
    registry.clock.run_for(4)
    assert second.asked == ["q"]

    second.leave()

    assert third.asked == ["q"]


def test_at_half_of_the_time_that_is_left_another_handler_gets_it_and_either_may_reply(
    registry: CallbackRegistry,
) -> None:
    handlers = [registry.connect() for _ in range(3)]
    registry.ask(seconds=8.0)

    registry.clock.run_until(1003.999)
    assert [handler.asked for handler in handlers] == [["q"], [], []]
    registry.clock.run_until(1004.0)
    assert [handler.asked for handler in handlers] == [["q"], ["q"], []]
    registry.clock.run_until(1006.0)
    assert [handler.asked for handler in handlers] == [["q"], ["q"], ["q"]]

    assert handlers[0].reply() == ACCEPTED
    assert handlers[1].reply() == ALREADY_ANSWERED
    assert registry.broker.size[0] == 1
    assert handlers[2].reply() == ALREADY_ANSWERED
    registry.assert_nothing_is_left()


def test_a_callback_that_took_too_long_goes_to_the_next_handler_that_connects(registry: CallbackRegistry) -> None:
    registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1005.0)

    other = registry.connect()

    assert other.questions[0].attempt == 2


def test_three_handlers_that_take_too_long_are_the_last_that_get_it(registry: CallbackRegistry) -> None:
    handlers = [registry.connect() for _ in range(4)]
    registry.ask(seconds=8.0)

    registry.clock.run_until(1007.5)
    later = registry.connect()
    registry.clock.run_until(1008.0)

    assert [handler.asked for handler in (*handlers, later)] == [["q"], ["q"], ["q"], [], []]
    assert registry.ended == {"q": None}


def test_a_third_handler_that_disconnects_is_replaced_and_its_replacement_is_the_last(
    registry: CallbackRegistry,
) -> None:
    handlers = [registry.connect() for _ in range(5)]
    registry.ask(seconds=8.0)
    registry.clock.run_until(1006.5)

    handlers[2].leave()
    assert [handler.asked for handler in handlers] == [["q"], ["q"], ["q"], ["q"], []]

    registry.clock.run_until(1007.75)
    assert handlers[4].asked == []
    assert handlers[3].questions[0].attempt == 4


def test_handlers_that_disconnected_count_among_the_three(registry: CallbackRegistry) -> None:
    leaving = [registry.connect() for _ in range(2)]
    third = registry.connect()
    fourth = registry.connect()
    registry.ask(seconds=8.0)
    for handler in leaving:
        handler.leave()
    assert third.asked == ["q"]

    registry.clock.run_until(1007.75)

    assert fourth.asked == []


@pytest.mark.parametrize(("seconds", "asked"), [(0.5, ["q"]), (0.375, [])])
def test_nobody_else_gets_it_because_a_handler_takes_too_long_if_there_is_next_to_no_time(
    registry: CallbackRegistry, seconds: float, asked: list[str]
) -> None:
    registry.connect()
    other = registry.connect()
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
    assert registry.broker.size[0] == 2, "one callback, and one that waits"

    # A loop that is busy hears of the new handler before it looks at the time.
    (registry.clock.run_until if is_prompt else registry.clock.stall_until)(1007.875)
    other = registry.connect()

    assert other.asked == []
    registry.clock.run_until(1007.875)
    assert registry.broker.size[0] == 1


def test_a_handler_that_disconnects_is_replaced_however_little_time_there_is(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1007.875)
    handler.leave()
    registry.clock.run_until(1007.9375)

    other = registry.connect()

    assert other.asked == ["q"]


def test_a_callback_that_waits_because_its_handler_is_slow_waits_on_if_that_one_disconnects(
    registry: CallbackRegistry,
) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1005.0)
    handler.leave()
    registry.clock.run_until(1007.9375)

    other = registry.connect()

    assert other.asked == ["q"]


def test_a_handler_that_took_too_long_comes_after_the_others_until_it_replies(registry: CallbackRegistry) -> None:
    slow = registry.connect()
    registry.ask("slow", 8.0)
    prompt = registry.connect()
    registry.clock.run_for(4)
    assert (slow.asked, prompt.asked) == (["slow"], ["slow"])

    registry.ask("1")
    assert prompt.asked == ["slow", "1"]
    slow.reply()
    registry.ask("2")
    assert slow.asked == ["slow", "2"]


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_reply_to_a_callback_that_is_over_makes_a_handler_prompt_again(
    registry: CallbackRegistry, *, is_answered: bool
) -> None:
    slow = registry.connect()
    prompt = registry.connect()
    registry.ask("slow", 8.0)
    registry.clock.run_until(1005.0)
    if is_answered:
        prompt.reply()
    registry.clock.run_until(1008.0)
    assert slow.session.is_slow

    assert slow.say(a_reply("never")) == UNKNOWN_TOKEN
    assert slow.session.is_slow
    assert slow.reply() == LATE
    assert not slow.session.is_slow


def test_a_second_reply_in_time_makes_a_handler_prompt_again(registry: CallbackRegistry) -> None:
    slow = registry.connect()
    registry.ask("quick")
    registry.ask("slow", 4.0)
    slow.reply()
    registry.clock.run_for(3)
    assert slow.session.is_slow

    assert slow.reply() == ALREADY_ANSWERED

    assert not slow.session.is_slow


def test_the_time_left_for_a_callback_is_updated_until_it_is_over(registry: CallbackRegistry) -> None:
    handler = registry.connect()
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
    handler = registry.connect()
    registry.ask("slow", 8.0)
    registry.ask("quick", 8.0)
    registry.clock.run_for(5)

    handler.reply(1)

    assert handler.asked == ["slow", "quick"]


def test_a_draining_handler_gets_no_callback_and_its_replies_count(registry: CallbackRegistry) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("1")
    registry.ask("2")

    handler.drain()

    assert handler.reply() == ACCEPTED
    registry.ask("3")
    assert handler.asked == ["1"]


def test_a_handler_that_is_gone_is_sent_nothing_for_a_reply_that_was_under_way(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask("1")
    handler.leave()
    registry.ask("2")

    assert handler.reply() == ACCEPTED
    assert handler.asked == ["1"]


def test_nothing_is_kept_of_handlers_that_are_gone(registry: CallbackRegistry) -> None:
    leaving = [registry.connect() for _ in range(3)]
    leaving[1].drain()

    for handler in leaving:
        handler.leave()

    assert registry.broker.size == (0, 0)
